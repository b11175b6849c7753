// Send the image that the user chooses to POST /detect, and show the answer.

import { computeRows, drawImage, element, layerRow, predictionRow, timingBar, timingRows } from "/ui/draw.js";

const CLASSES_SHOWN = 20;

const byId = (id) => document.getElementById(id);
const state = { models: [], defaultModel: "", model: null, file: null, bitmap: null, answer: null, requests: 0 };

start();

async function start() {
  const file = byId("file");
  file.addEventListener("change", () => file.files.length && choose(file.files[0]));
  const drop = byId("drop");
  for (const name of ["dragenter", "dragover"]) drop.addEventListener(name, (event) => over(event, true));
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, (event) => over(event, false));
  drop.addEventListener("drop", (event) => event.dataTransfer.files.length && choose(event.dataTransfer.files[0]));
  document.addEventListener("paste", (event) => event.clipboardData.files.length && choose(event.clipboardData.files[0]));
  const conf = byId("conf");
  conf.addEventListener("input", showConf);
  conf.addEventListener("change", detect);
  byId("model-choice").addEventListener("change", (event) => { useModel(event.target.value); detect(); });
  window.addEventListener("resize", () => state.bitmap && drawImage(byId("image"), state.bitmap, state.answer));
  await loadModels();
}

function over(event, inside) {
  event.preventDefault();
  byId("drop").classList.toggle("over", inside);
}

async function loadModels() {
  try {
    const response = await fetch("/models");
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
  } catch (error) {
    showProblem(`The service does not answer: ${error.message}`);
  }
}

function useModel(name) {
  const model = state.models.find((one) => one.name === name);
  state.model = model;
  byId("model").textContent =
    `${model.name} ${model.version} · ${model.precision} · ${model.classes.length} classes · ${model.input.width} × ${model.input.height}`;
  byId("classes").textContent = `This model knows ${listOf(model.classes)}.`;
  byId("attribution").textContent = model.attribution;
  const query = name === state.defaultModel ? "" : `?${new URLSearchParams({ model: name })}`;
  byId("address").textContent = `${location.origin}/detect${query}`;
  const conf = model.defaults.conf ?? null; // null if the model's task has no such parameter
  byId("conf-row").hidden = conf === null;
  if (conf !== null) {
    byId("conf").value = conf;
    showConf();
  }
  byId("top-k-row").hidden = !model.top_k;
  byId("top-k").replaceChildren(...(model.top_k ? model.top_k.allowed.map((k) => topKChoice(k, model.top_k.default)) : []));
  byId("controls-card").hidden = state.models.length < 2 && conf === null && !model.top_k;
  // Boxes are on the image; classes are only in the list, so the list comes first for a classifier.
  const labels = model.drawn_as === "labels";
  byId("detections-title").textContent = labels ? "Classes" : "Objects";
  byId("experts-card")[labels ? "before" : "after"](byId("detections-card"));
}

function listOf(names) {
  const shown = names.slice(0, CLASSES_SHOWN).join(", ");
  return names.length > CLASSES_SHOWN ? `${shown} and ${names.length - CLASSES_SHOWN} more` : shown;
}

function showConf() { // show the slider's value, which is rounded, because detect() sends that value
  byId("conf-value").textContent = Number(byId("conf").value).toFixed(2);
}

function topKChoice(k, chosen) {
  const input = element("input", { type: "radio", name: "top_k", value: k, ...(k === chosen ? { checked: "" } : {}) });
  input.addEventListener("change", detect);
  return element("label", {}, input, `${k}`);
}

async function choose(file) {
  state.file = file;
  state.answer = null;
  state.bitmap = null;
  byId("problem").hidden = true;
  try {
    state.bitmap = await createImageBitmap(file);
    byId("drop").classList.add("filled");
    drawImage(byId("image"), state.bitmap, null);
  } catch {
    byId("drop").classList.remove("filled"); // the browser cannot show this image, but the service may still read it
    byId("image").hidden = true;
  }
  await detect();
}

async function detect() {
  if (!state.file || !state.model) return;
  const request = (state.requests += 1);
  const query = new URLSearchParams({ model: state.model.name });
  if (!byId("conf-row").hidden) query.set("conf", byId("conf").value);
  const topK = document.querySelector("input[name=top_k]:checked");
  if (topK) query.set("top_k", topK.value);
  byId("drop").classList.add("busy");
  let answer, sentence;
  try {
    const response = await fetch(`/detect?${query}`, { method: "POST", body: state.file });
    const body = await response.json();
    if (response.ok) answer = body;
    else sentence = body.detail;
  } catch (error) {
    sentence = `The service does not answer: ${error.message}`;
  }
  if (request !== state.requests) return; // a later request has been sent meanwhile
  byId("drop").classList.remove("busy");
  if (answer) showAnswer(answer);
  else showProblem(sentence);
}

function showAnswer(answer) {
  state.answer = answer;
  byId("problem").hidden = true;
  const labels = state.model.drawn_as === "labels";
  const summary = labels ? summaryOfClasses(answer.predictions) : summaryOfObjects(answer.predictions);
  byId("summary").textContent = summary;
  byId("image").setAttribute("aria-label", summary);
  if (state.bitmap) drawImage(byId("image"), state.bitmap, answer);
  byId("detections").replaceChildren(...answer.predictions.map((one) => predictionRow(one, labels)));
  byId("detections-card").hidden = answer.predictions.length === 0;
  const moe = answer.moe;
  byId("experts-card").hidden = moe.layers.length === 0;
  byId("static").hidden = moe.routing !== "static";
  byId("static").textContent = answer.warnings.join(" ");
  const idle = moe.gflops.used < moe.gflops.dense ? "skipped" : "not chosen";
  byId("layers").replaceChildren(...moe.layers.map((layer) => layerRow(layer, idle)));
  byId("compute").replaceChildren(...computeRows(moe.gflops));
  byId("timing-card").hidden = false;
  byId("timing-bar").replaceChildren(timingBar(answer.timing_ms));
  byId("timing").replaceChildren(...timingRows(answer.timing_ms));
}

function summaryOfClasses([best]) {
  return `Most likely ${best.class}, ${Math.round(best.confidence * 100)}%.`;
}

function summaryOfObjects(predictions) {
  if (predictions.length === 0) return "No objects found at this confidence.";
  return `${predictions.length} ${predictions.length === 1 ? "object" : "objects"} found.`;
}

function showProblem(sentence) {
  state.answer = null;
  byId("problem").textContent = sentence;
  byId("problem").hidden = false;
  byId("summary").textContent = "";
  for (const id of ["experts-card", "detections-card", "timing-card"]) byId(id).hidden = true;
  if (state.bitmap) drawImage(byId("image"), state.bitmap, null);
}
