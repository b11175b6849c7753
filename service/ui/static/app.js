// Send the images that the user chooses to POST /detect, one after the other, and show the answers.

import { cameraProblem, startCamera } from "/ui/camera.js";
import { comparison } from "/ui/compare.js";
import { boxAt, computeRows, drawImage, drawnImage, element, predictionRow, timingBar, timingRows } from "/ui/draw.js";
import { expertsCard } from "/ui/experts.js";
import { explanations } from "/ui/explain.js";
import { hasKey, keyed, unasked } from "/ui/keyed.js";
import { liveCharts } from "/ui/live.js";
import { routesOfThree } from "/ui/routes.js";
import { seenImages } from "/ui/seen.js";
import { bitmapOf, buildStrip, markStrip } from "/ui/strip.js";
import { chooseTheme } from "/ui/theme.js";
import { modelLine, namesOf, summaryOf, unnamed } from "/ui/words.js";

const MOST_IMAGES = 32;
const EXPLAIN = "&explain=route&timeout_ms=300000"; // the service answers sooner if it can

const byId = (id) => document.getElementById(id);
const state = {
  models: [],
  defaultModel: "",
  model: null,
  shots: [], // the chosen images: { file, name, answer, sentence, button }; sentence: why there is no answer
  shot: null, // the one of them that is shown
  bitmap: null, // its pixels; null while they are decoded, or if nothing can decode them
  hot: -1, // the position of the prediction under the mouse
  round: new AbortController(), // of the requests for the chosen images with the chosen parameters
  report: null, // what the model's experts serve; null while it is not known, or if there is none
  noReport: "", // why there is none
  camera: null, // { stop, done }; null while it is off
  stopping: null, // settles when the camera that was on last has stopped
};
const seen = seenImages();
const experts = expertsCard(byId("layers"), seen);
const compared = comparison(
  {
    panel: byId("compare"),
    words: byId("compare-words"),
    selects: [byId("compare-left"), byId("compare-right")],
    columns: [byId("compare-left-answer"), byId("compare-right-answer")],
  },
  { ask: (topK) => ask(state.shot.file, undefined, topK), pixels: () => ({ bitmap: state.bitmap, skeleton: skeleton(), moving: Boolean(state.camera) }) },
);
const routes = routesOfThree(byId("routes"), { shots: () => state.shots, skeleton: () => skeleton(), add: (files) => choose(files, state.shots), example });
const explained = explanations(
  {
    offer: byId("explain-offer"),
    button: byId("explain"),
    busy: byId("explain-busy"),
    seconds: byId("explain-seconds"),
    stop: byId("explain-stop"),
    note: byId("explain-note"),
    chosen: byId("map"),
    select: byId("map-layer"),
    legend: byId("map-legend"),
    words: byId("map-words"),
  },
  { ask: (signal) => ask(state.shot.file, signal, undefined, EXPLAIN), redraw: () => draw() },
);
const live = liveCharts(
  { panel: byId("live"), place: byId("live-charts"), note: byId("live-note") },
  { read: () => unasked("/metrics"), modelOf: () => state.model },
);

start();

async function start() {
  const file = byId("file"), drop = byId("drop"), conf = byId("conf");
  file.addEventListener("change", () => { choose(file.files); file.value = ""; });
  for (const name of ["dragenter", "dragover"]) drop.addEventListener(name, (event) => over(event, true));
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, (event) => over(event, false));
  drop.addEventListener("drop", (event) => choose(event.dataTransfer.files));
  drop.addEventListener("mousemove", (event) => heat(boxAt(byId("image"), state.shot?.answer, event)));
  drop.addEventListener("mouseleave", () => heat(-1));
  document.addEventListener("paste", (event) => choose(event.clipboardData.files));
  document.addEventListener("keydown", step);
  conf.addEventListener("input", showConf);
  conf.addEventListener("change", askAll);
  byId("model-choice").addEventListener("change", (event) => { useModel(event.target.value); askAll(); });
  byId("example").addEventListener("click", async () => choose(await example()));
  byId("save-json").addEventListener("click", () => save(JSON.stringify(state.shot.answer, null, 2), "application/json", "json"));
  byId("save-image").addEventListener("click", async () => save(await drawnImage(state.bitmap, state.shot.answer, skeleton(), explained.map()), "image/png", "drawn.png"));
  byId("camera").addEventListener("click", () => (state.camera ? stopCamera() : useCamera()));
  window.addEventListener("resize", () => { draw(); compared.redraw(); routes.refresh(); });
  chooseTheme(byId("theme"));
  await loadModels();
}

function over(event, inside) {
  event.preventDefault();
  byId("drop").classList.toggle("over", inside);
}

async function loadModels() {
  try {
    const response = await keyed("/models");
    const body = await response.json();
    if (response.status === 503) { // still loading: show the reason, and request again
      byId("model").textContent = body.detail;
      setTimeout(loadModels, 2000);
      return;
    }
    if (!response.ok) throw new Error(body.detail);
    state.models = body.models;
    state.defaultModel = body.default;
    byId("model-choice").replaceChildren(...body.models.map((model) => element("option", { value: model.name }, model.name)));
    byId("model-choice").value = body.default;
    byId("model-row").hidden = body.models.length < 2;
    useModel(body.default);
    askAll(); // for images that were chosen meanwhile
  } catch (error) {
    showProblem(`The service does not answer: ${error.message}`);
  }
}

function useModel(name) {
  const model = state.models.find((one) => one.name === name);
  state.model = model;
  byId("model").textContent = modelLine(model);
  byId("classes").textContent = `This model knows ${namesOf(model.classes)}.`;
  byId("all-classes").hidden = unnamed(model.classes) === 0;
  byId("all-names").textContent = model.classes.join(", ");
  byId("attribution").textContent = model.attribution;
  byId("try").hidden = false;
  const conf = model.defaults.conf ?? null; // null if the model's task has no such parameter
  byId("conf-row").hidden = conf === null;
  if (conf !== null) byId("conf").value = conf;
  byId("top-k-row").hidden = !model.top_k;
  byId("top-k").replaceChildren(...(model.top_k ? model.top_k.allowed.map((k) => topKChoice(k, model.top_k.default)) : []));
  byId("controls-card").hidden = state.models.length < 2 && conf === null && !model.top_k;
  showConf();
  // Boxes are on the image; classes are only in the list, so the list comes first for a classifier.
  byId("detections-title").textContent = hasLabels() ? "Classes" : "Objects";
  byId("experts-card")[hasLabels() ? "before" : "after"](byId("detections-card"));
  compared.offer(model);
  routes.offer(model);
  loadReport(model);
}

async function loadReport(model) {
  Object.assign(state, { report: null, noReport: "This release has no report on what its experts serve." });
  if (!model.experts_report) return;
  const response = await keyed(`/models/${encodeURIComponent(model.name)}/experts`).catch(() => null);
  const report = response?.ok ? await response.json() : null;
  if (state.model !== model) return;
  Object.assign(state, { report, noReport: "The report on what the experts serve cannot be read." });
  if (state.shot?.answer) showExperts(state.shot.answer);
}

const hasLabels = () => state.model.drawn_as === "labels";
const skeleton = () => state.model?.skeleton ?? []; // images are drawn before the models are known

function showConf() { // show the slider's value, which is rounded, because the request has that value
  byId("conf-value").textContent = Number(byId("conf").value).toFixed(2);
  showAddress();
}

function topKChoice(k, chosen) {
  const input = element("input", { type: "radio", name: "top_k", value: k, ...(k === chosen ? { checked: "" } : {}) });
  input.addEventListener("change", () => { showAddress(); askAll(); });
  return element("label", {}, input, `${k}`);
}

// The parameters of a request; `all`: also those that have the model's default value.
function query(all, topK = document.querySelector("input[name=top_k]:checked")?.value) {
  const { model, defaultModel } = state, params = new URLSearchParams();
  const add = (name, value, usual) => (all || Number(value) !== usual) && params.set(name, value);
  if (all || model.name !== defaultModel) params.set("model", model.name);
  if (!byId("conf-row").hidden) add("conf", byId("conf").value, model.defaults.conf);
  if (topK !== undefined) add("top_k", topK, model.top_k.default);
  if (model.task === "segment") params.set("masks", "polygon"); // which a canvas can draw
  return params.size ? `?${params}` : "";
}

function showAddress() {
  byId("with-key").hidden = !hasKey();
  byId("address").textContent = `${location.origin}/detect${query(false)}`;
  byId("as-json").hidden = false;
}

// Return the model's example image, in a list; an empty list if there is none.
async function example() {
  try {
    const response = await keyed(`/models/${encodeURIComponent(state.model.name)}/example`);
    if (!response.ok) throw new Error((await response.json()).detail);
    return [new File([await response.blob()], "example.png", { type: "image/png" })];
  } catch (error) {
    showProblem(`There is no example image: ${error.message}`);
    return [];
  }
}

// kept: chosen images that stay, with their answers.
function choose(files, kept = []) {
  if (files.length === 0) return;
  stopCamera();
  const all = [...kept, ...[...files].map((file) => ({ file, name: file.name || "image", answer: null, sentence: "" }))];
  state.shots = all.slice(0, MOST_IMAGES);
  byId("strip-note").textContent = all.length > MOST_IMAGES ? `The first ${MOST_IMAGES} of ${all.length} images.` : "";
  byId("strip").hidden = state.shots.length < 2;
  if (!kept.includes(state.shot)) show(state.shots[0]);
  askMissing();
  buildStrip(byId("strip"), state.shots, show, state.round.signal);
  markStrip(state.shots, state.shot);
}

// Decoding takes time. If another image is chosen meanwhile, these pixels are dropped.
async function show(shot) {
  state.shot = shot;
  state.bitmap?.close();
  state.bitmap = null;
  state.hot = -1;
  render();
  const bitmap = await bitmapOf(shot.file);
  if (state.shot !== shot || state.bitmap) return bitmap?.close();
  state.bitmap = bitmap;
  render();
  compared.refresh();
}

function step(event) {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!by || state.shots.length < 2 || event.target.matches("input:not([type=file]), select")) return;
  const shot = state.shots[state.shots.indexOf(state.shot) + by];
  if (!shot) return;
  event.preventDefault();
  if (shot.button.parentElement.contains(document.activeElement)) shot.button.focus();
  show(shot);
}

// Forget all answers, and request new ones, first for the image that is shown.
async function askAll() {
  for (const shot of state.shots) Object.assign(shot, { answer: null, sentence: "" });
  if (state.model && state.bitmap) compared.refresh();
  await askMissing();
}

// Keep the answers that there are.
async function askMissing() {
  state.round.abort();
  const { signal } = (state.round = new AbortController());
  render();
  routes.refresh();
  if (!state.model) return;
  while (!signal.aborted) {
    const shot = [state.shot, ...state.shots].find((one) => one && !one.answer && !one.sentence);
    if (!shot) return;
    const found = await ask(shot.file, signal);
    if (signal.aborted) return;
    Object.assign(shot, found);
    if (shot.answer) seen.remember(shot);
    markStrip(state.shots, state.shot);
    routes.refresh(shot);
    if (shot === state.shot) render();
  }
}

// further: more parameters of the request.
async function ask(file, signal, topK, further = "") {
  try {
    const response = await keyed(`/detect${query(true, topK)}${further}`, { method: "POST", body: file, signal });
    const body = await response.json();
    if (response.ok && !further) live.answered(body); // an explanation takes longer than an answer
    return response.ok ? { answer: body } : { sentence: body.detail };
  } catch (error) {
    return { sentence: `The service does not answer: ${error.message}` };
  }
}

function heat(hot) {
  if (hot === state.hot) return;
  state.hot = hot;
  [...byId("detections").children].forEach((row, i) => row.classList.toggle("hot", i === hot));
  byId("detections").children[hot]?.scrollIntoView({ block: "nearest" });
  draw();
}

function draw() {
  if (state.bitmap) drawImage(byId("image"), state.bitmap, state.shot.answer, skeleton(), [state.hot], explained.map());
}

// Show the current image with its answer, or why there is none.
function render() {
  const { shot, bitmap } = state;
  if (!shot) return;
  const { answer, sentence } = shot;
  byId("drop").classList.toggle("filled", Boolean(bitmap));
  byId("drop").classList.toggle("busy", !answer && !sentence);
  byId("image").hidden = !bitmap;
  byId("save").hidden = !answer;
  byId("save-image").hidden = !bitmap;
  markStrip(state.shots, shot);
  explained.show(state.camera ? null : answer); // the camera's answers change all the time
  draw();
  if (answer) showAnswer(answer);
  else if (sentence) showProblem(sentence);
  else clear(state.model ? "Waiting for the answer…" : "Waiting for the models…");
}

function clear(summary) {
  byId("problem").hidden = true;
  byId("warnings").hidden = true;
  byId("summary").textContent = summary;
}

function showAnswer(answer) {
  const summary = summaryOf(answer.predictions, hasLabels());
  clear(summary);
  byId("image").setAttribute("aria-label", summary);
  byId("warnings").hidden = answer.warnings.length === 0;
  byId("warnings").textContent = answer.warnings.join(" ");
  byId("detections").replaceChildren(...answer.predictions.map(rowOf));
  byId("detections-card").hidden = answer.predictions.length === 0;
  const moe = answer.moe;
  byId("experts-card").hidden = moe.layers.length === 0;
  showExperts(answer);
  byId("compute").replaceChildren(...computeRows(moe.gflops));
  byId("timing-card").hidden = false;
  byId("timing-bar").replaceChildren(timingBar(answer.timing_ms));
  byId("timing").replaceChildren(...timingRows(answer.timing_ms));
}

function showExperts(answer) {
  const { used, dense } = answer.moe.gflops;
  experts.show(answer, used < dense ? "skipped" : "not chosen", state.report, state.noReport);
}

// Show each frame with its answer. Frames are not remembered, and a screen reader is not told of each.
async function useCamera() {
  try {
    await state.stopping;
    state.camera = await startCamera(answerFrame, tellCamera);
  } catch (error) {
    byId("camera-note").textContent = cameraProblem(error);
    return;
  }
  state.round.abort();
  byId("strip").hidden = true;
  byId("strip-note").textContent = "";
  byId("summary").setAttribute("aria-live", "off");
  byId("camera").textContent = "Stop the camera";
  byId("camera-note").textContent = "The camera is on; each frame is sent to the service.";
  compared.refresh();
}

function stopCamera() {
  state.camera?.stop();
  state.stopping = state.camera?.done;
  state.camera = null;
}

async function answerFrame(file, bitmap) {
  const found = state.model ? await ask(file) : { sentence: "Waiting for the models…" };
  if (!state.camera) return bitmap.close(); // stopped meanwhile
  state.bitmap?.close();
  Object.assign(state, { bitmap, hot: -1, shots: [], shot: { file, name: "camera", answer: null, sentence: "", ...found } });
  render();
  return Boolean(found.answer);
}

function tellCamera(rate) {
  if (rate !== null) {
    byId("camera-note").textContent = `${rate.toFixed(1)} frames per second, one after the other`;
    return;
  }
  state.camera = null;
  if (state.shot && !state.shots.length) state.shots = [state.shot]; // the last frame is an image like any other
  explained.show(state.shot?.answer ?? null);
  byId("summary").removeAttribute("aria-live");
  byId("camera").textContent = "Use the camera";
  byId("camera-note").textContent = "The camera is off.";
  compared.refresh();
}

function rowOf(prediction, i) {
  const row = predictionRow(prediction, hasLabels());
  for (const name of ["mouseenter", "focus"]) row.addEventListener(name, () => heat(i));
  for (const name of ["mouseleave", "blur"]) row.addEventListener(name, () => heat(-1));
  return row;
}

function showProblem(sentence) {
  clear("");
  byId("problem").textContent = sentence;
  byId("problem").hidden = false;
  for (const id of ["experts-card", "detections-card", "timing-card"]) byId(id).hidden = true;
}

function save(data, type, ending) {
  const link = element("a", { href: URL.createObjectURL(new Blob([data], { type })), download: `${state.shot.name.replace(/\.[^.]*$/, "")}.${ending}` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000); // the browser reads it after this function
}
