// Compare two answers for the same image, with different numbers of experts per layer.

import { computeRows, drawImage, element } from "/ui/draw.js";
import { layerRow, pathLine } from "/ui/experts.js";

const SAME_IOU = 0.5; // from here on, two boxes of a class are the same object
const RUNS = 3; // of each setting, in turn; the times shown are the middle ones

// Return which predictions have no counterpart in the other answer: two lists of positions.
export function unmatched([one, other]) {
  const free = new Set(other.keys());
  const alone = [];
  for (const [i, prediction] of one.entries()) { // most confident first
    const same = [...free].filter((j) => other[j].class_id === prediction.class_id).map((j) => [iou(prediction, other[j]), j]);
    const best = same.reduce((left, right) => (right[0] > left[0] ? right : left), [-1, -1]);
    if (best[0] >= SAME_IOU) free.delete(best[1]);
    else alone.push(i);
  }
  return [alone, [...free]];
}

// Predictions without a box, which are classes of the whole image, are the same if the class is.
// The turn of a box is not regarded.
function iou(one, other) {
  if (one.width === undefined) return 1;
  const overlap = (at, size) => Math.max(0, Math.min(one[at] + one[size] / 2, other[at] + other[size] / 2) - Math.max(one[at] - one[size] / 2, other[at] - other[size] / 2));
  const common = overlap("x", "width") * overlap("y", "height");
  return common / (one.width * one.height + other.width * other.height - common || 1);
}

// Return, for each layer of one answer, the experts that ran there but not in the other answer.
export const onlyIn = (one, other) => one.map((layer, i) => layer.active.filter((expert) => !other[i].active.includes(expert)));

// panel: the <details>. selects: two <select> for the numbers. columns: two elements for the answers.
// ask(topK): returns { answer } or { sentence } for the image that is shown. pixels(): its bitmap, the
// skeleton, and whether they are moving, because a camera is on.
export function comparison({ panel, selects, columns, words }, { ask, pixels }) {
  let turn = 0, answers = null;
  const isOpen = () => panel.open && !panel.hidden;

  async function refresh() {
    const mine = (turn += 1);
    answers = null;
    if (isOpen() && pixels().moving) return clear("Stop the camera to compare its last frame.");
    if (!isOpen() || !pixels().bitmap) return clear(pixels().bitmap ? "" : "Choose an image first.");
    clear("Waiting for both answers…");
    const found = selects.map(() => []);
    for (let run = 0; run < RUNS * selects.length; run += 1) { // one after the other, so that none slows down another
      const side = run % selects.length, { answer, sentence } = await ask(Number(selects[side].value));
      if (mine !== turn) return;
      if (sentence) return clear(sentence);
      found[side].push(answer);
    }
    answers = found.map(middleOf);
    show();
  }

  function clear(sentence) {
    words.textContent = sentence;
    for (const column of columns) column.replaceChildren();
  }

  function show() {
    if (!answers || !isOpen()) return;
    const alone = unmatched(answers.map(({ predictions }) => predictions));
    const layers = answers.map(({ moe }) => moe.layers);
    const experts = [onlyIn(layers[0], layers[1]), onlyIn(layers[1], layers[0])];
    words.textContent = sentences(answers, alone, experts);
    columns.forEach((column, i) => fill(column, answers[i], Number(selects[i].value), { predictions: alone[i], experts: experts[i] }, pixels()));
  }

  function offer({ top_k: topK }) {
    panel.hidden = !topK;
    if (!topK) return;
    const lower = topK.allowed.filter((k) => k > 0 && k < topK.default).at(-1) ?? topK.allowed.find((k) => k !== topK.default) ?? topK.default;
    selects.forEach((select, i) => {
      select.replaceChildren(...topK.allowed.map((k) => element("option", { value: k }, `${k}`)));
      select.value = i === 0 ? lower : topK.default;
    });
  }

  panel.addEventListener("toggle", refresh);
  for (const select of selects) select.addEventListener("change", refresh);
  return { refresh, redraw: show, offer };
}

// Return the answer whose time in the network is the middle one; the answers differ only in their times.
function middleOf(answers) {
  const sorted = [...answers].sort((one, other) => one.timing_ms.infer - other.timing_ms.infer);
  return sorted[Math.floor(sorted.length / 2)];
}

function sentences(answers, alone, experts) {
  const [one, other] = answers.map(({ moe }) => moe);
  const both = answers[0].predictions.length - alone[0].length;
  const named = alone.map((places, i) => `${places.length} only on the ${i ? "right" : "left"}${listOf(answers[i], places)}`);
  const [left, right] = experts.map((layers) => layers.flat().length);
  const routed = `${left} experts ran only on the left, ${right} only on the right.`;
  const inPercent = (share) => `${Math.round(share * 100)}%`;
  const time = answers[0].timing_ms.infer / answers[1].timing_ms.infer;
  const compute = `The left takes ${inPercent(one.gflops.used / other.gflops.used)} of the right's GFLOPs, and ${inPercent(time)} of its time in the network: the middle of ${RUNS} runs each, in turn.`;
  return `${both} found by both, ${named.join(", ")}. ${routed} ${compute}`;
}

function listOf({ predictions }, places) {
  const names = [...new Set(places.map((i) => predictions[i].class))];
  return names.length ? ` (${names.slice(0, 4).join(", ")}${names.length > 4 ? ", …" : ""})` : "";
}

function fill(column, answer, topK, only, { bitmap, skeleton }) {
  const canvas = element("canvas", { role: "img", "aria-label": `With ${topK} experts per layer: ${answer.predictions.length} found, ${only.predictions.length} of them only here` });
  const idle = answer.moe.gflops.used < answer.moe.gflops.dense ? "skipped" : "not chosen";
  const rows = answer.moe.layers.map((layer, i) => layerRow(layer, idle, null, only.experts[i]));
  const { total, infer } = answer.timing_ms;
  column.replaceChildren(
    element("h3", {}, topK === 1 ? "1 expert per layer" : `${topK} experts per layer`),
    element("div", { class: "compared" }, canvas),
    element("p", {}, `${answer.predictions.length} found, ${only.predictions.length} only here · ${total.toFixed(1)} ms in all, ${infer.toFixed(1)} ms in the network`),
    element("div", { class: "compute" }, ...computeRows(answer.moe.gflops)),
    element("div", { class: "layers" }, ...[pathLine(answer.moe)].filter(Boolean), ...rows),
  );
  drawImage(canvas, bitmap, answer, skeleton, only.predictions);
}
