// Show the routes of up to three images side by side: the experts that ran in each layer, joined by lines.

import { percent } from "/ui/charts.js";
import { drawImage, element } from "/ui/draw.js";
import { pathLine } from "/ui/experts.js";
import { bitmapOf } from "/ui/strip.js";

const SVG = "http://www.w3.org/2000/svg";
const STEP = { x: 64, y: 30 }, RADIUS = 10, THICKEST = 9, FOOT = 30; // in units of the drawing
const SCALE = 1.3; // CSS pixels of a unit, if there is room

// Return, for each answer and layer, the experts that ran there in none of the other answers.
export function onlyHere(answers) {
  const others = (i) => answers.filter((_, j) => j !== i);
  const elsewhere = (i, layer) => others(i).flatMap(({ moe }) => moe.layers[layer]?.active ?? []);
  return answers.map(({ moe }, i) => moe.layers.map(({ active }, layer) => active.filter((expert) => others(i).length && !elsewhere(i, layer).includes(expert))));
}

// Return a drawing of one route: a column of experts for each layer. Filled ones ran, and lines join them; the
// weights of both ends, multiplied, are the thickness of a line. A ring marks the experts in `only`.
export function routeMap(layers, only) {
  const width = STEP.x * layers.length, height = STEP.y * Math.max(...layers.map(({ experts }) => experts));
  const at = (layer, expert) => [STEP.x * (layer + 0.5), STEP.y * (expert + 0.5)];
  const lines = layers.slice(1).flatMap((next, i) => layers[i].active.flatMap((from, a) => next.active.map((to, b) => {
    const [[x1, y1], [x2, y2]] = [at(i, from), at(i + 1, to)];
    return shape("line", { x1, y1, x2, y2, "stroke-width": Math.max(1, THICKEST * layers[i].weights[a] * next.weights[b]) });
  })));
  const columns = layers.flatMap((layer, i) => [
    ...Array.from({ length: layer.experts }, (_, expert) => dot(at(i, expert), expert, layer.active.includes(expert), only[i].includes(expert))),
    ...layer.layer.split(".").map((part, row) => shape("text", { x: STEP.x * (i + 0.5), y: height + 10 + 12 * row }, part)),
  ]);
  const label = layers.map(({ layer, active, weights }) => `${layer}: ${active.map((expert, i) => `expert ${expert} ${percent(weights[i])}`).join(", ") || "no expert"}`);
  return shape("svg", { viewBox: `0 0 ${width} ${height + FOOT}`, width: SCALE * width, class: "route", role: "img", "aria-label": `Route. ${label.join("; ")}` }, ...lines, ...columns);
}

function dot([cx, cy], expert, ran, only) {
  const ring = only ? [shape("circle", { cx, cy, r: RADIUS + 3.5, class: "ring" })] : [];
  return shape("g", { class: ran ? "ran" : "idle" }, ...ring, shape("circle", { cx, cy, r: RADIUS }), shape("text", { x: cx, y: cy }, `${expert}`));
}

function shape(name, attributes, ...children) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

// panel: the <details>. shots(): the chosen images with their answers. skeleton(): pairs of keypoints to join.
// add(files): adds images. example(): returns the model's example image, in a list.
export function routesOfThree(panel, { shots, skeleton, add, example }) {
  const [words, file] = ["[role=status]", "input"].map((one) => panel.querySelector(one));
  const [selects, columns] = ["select", ".answer"].map((all) => [...panel.querySelectorAll(all)]);
  const bitmaps = new Map(); // of the images that are shown, as promises
  let picked = [];

  // changed: the only image with another answer; left out if it is not known.
  function refresh(changed) {
    if (!panel.open || panel.hidden || (changed && !picked.includes(changed))) return;
    const all = shots();
    picked = picked.filter((shot) => all.includes(shot));
    for (const shot of all) if (picked.length < columns.length && !picked.includes(shot)) picked.push(shot);
    for (const [shot, bitmap] of bitmaps) if (!picked.includes(shot)) { bitmaps.delete(shot); bitmap.then((one) => one?.close()); }
    const answered = picked.filter(({ answer }) => answer);
    const only = onlyHere(answered.map(({ answer }) => answer));
    words.textContent = sentenceFor(picked, answered);
    columns.forEach((column, i) => {
      const shot = picked[i];
      column.parentElement.hidden = !shot;
      if (!shot) return;
      selects[i].replaceChildren(...all.map((one, place) => element("option", { value: place, ...(one === shot ? { selected: "" } : {}) }, one.name)));
      fill(column, shot, only[answered.indexOf(shot)]);
    });
  }

  function fill(column, shot, only) {
    if (!shot.answer) return column.replaceChildren(element("p", {}, shot.sentence || "Waiting for the answer…"));
    const { moe, predictions } = shot.answer;
    const canvas = element("canvas", { role: "img", "aria-label": `${shot.name}: ${predictions.length} found` });
    const alone = moe.layers.map(({ layer }, i) => (only[i].length ? `expert${only[i].length > 1 ? "s" : ""} ${only[i].join(" and ")} of ${layer}` : "")).filter(Boolean);
    column.replaceChildren(
      element("div", { class: "compared" }, canvas),
      ...[pathLine(moe)].filter(Boolean),
      routeMap(moe.layers, only),
      element("p", { class: "quiet" }, alone.length ? `Only here: ${alone.join(", ")}.` : "No expert runs only here."),
    );
    paint(canvas, shot);
  }

  async function paint(canvas, shot) {
    if (!bitmaps.has(shot)) bitmaps.set(shot, bitmapOf(shot.file));
    const decoding = bitmaps.get(shot), bitmap = await decoding;
    if (bitmap && canvas.isConnected && bitmaps.get(shot) === decoding) drawImage(canvas, bitmap, shot.answer, skeleton(), []);
  }

  function offer({ top_k: topK }) { // the caller then requests new answers
    panel.hidden = !topK;
  }

  panel.addEventListener("toggle", () => refresh());
  file.addEventListener("change", () => { add(file.files); file.value = ""; });
  panel.querySelector("#routes-add").addEventListener("click", () => file.click());
  panel.querySelector("#routes-example").addEventListener("click", async () => add(await example()));
  selects.forEach((select, i) => select.addEventListener("change", () => { picked[i] = shots()[Number(select.value)]; refresh(); }));
  return { refresh, offer };
}

function sentenceFor(picked, answered) {
  if (picked.length < 2) return "Add images, or choose several above.";
  if (picked.some(({ answer, sentence }) => !answer && !sentence)) return "Waiting for the answers…";
  if (answered.length < 2) return "";
  const [first, ...others] = answered.map(({ answer }) => answer.moe.layers);
  const same = (layer, i) => others.every((one) => `${one[i]?.active}` === `${layer.active}`);
  const differing = first.filter((layer, i) => !same(layer, i)).length;
  const paths = answered.filter(({ answer }) => answer.moe.path).map(({ name, answer }) => `${name} takes path ${answer.moe.path.index}`);
  const routes = differing ? `The experts differ in ${differing} of ${first.length} layers.` : "The same experts ran for all of them.";
  return `${paths.length ? `${paths.join(", ")}. ` : ""}${routes}`;
}
