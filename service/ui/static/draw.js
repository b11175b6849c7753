// Draw an answer, and build HTML elements for it. This file uses no network.
// Class and layer names come from models, so they are inserted as text only, never as HTML.

import { drawMap } from "/ui/heat.js";
import { classColour, drawObject, isInside, tagColour, topCorner } from "/ui/shapes.js";

const SVG = "http://www.w3.org/2000/svg";
const STAGES = ["decode", "queue", "preprocess", "router", "infer", "postprocess"]; // router: of models with paths

export function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

// The canvas has the resolution of the screen, not of the image, so that lines and letters stay sharp.
// skeleton: pairs of keypoints that a line joins. hot: the positions of the predictions to highlight.
// map: { grid, effects } to draw over the image, or null.
export function drawImage(canvas, bitmap, answer, skeleton, hot, map = null) {
  canvas.hidden = false;
  const { width, height } = bitmap;
  const scale = Math.min(canvas.parentElement.clientWidth / width, (0.78 * window.innerHeight) / height, 8);
  const unit = window.devicePixelRatio || 1;
  canvas.style.width = `${width * scale}px`;
  canvas.style.height = `${height * scale}px`;
  canvas.width = Math.round(width * scale * unit);
  canvas.height = Math.round(height * scale * unit);
  paint(canvas, bitmap, answer, { skeleton, hot, map, unit });
}

// Return the image with its objects as a PNG, at the image's own size.
export function drawnImage(bitmap, answer, skeleton, map = null) {
  const canvas = element("canvas", { width: bitmap.width, height: bitmap.height });
  const unit = Math.max(1, Math.min(bitmap.width, bitmap.height) / 600);
  paint(canvas, bitmap, answer, { skeleton, hot: [], map, unit });
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

function paint(canvas, bitmap, answer, { skeleton, hot, map, unit }) {
  const context = canvas.getContext("2d");
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  if (!answer) return;
  const scale = canvas.width / answer.image.width; // the bitmap may be a smaller preview
  if (map) drawMap(context, map.grid, map.effects, scale); // below the boxes
  // Draw the most confident object last, so that it is on top. Draw all names after all objects, so that no line
  // crosses a name.
  const objects = answer.predictions.map((prediction, i) => ({ ...prediction, hot: hot.includes(i) })).filter(hasBox).reverse();
  objects.sort((one, other) => one.hot - other.hot);
  for (const object of objects) drawObject(context, object, skeleton, scale, unit);
  const letter = unit * Math.max(0.7, Math.min(1, canvas.width / unit / 520)); // smaller names on a small screen
  for (const object of objects) drawTag(context, object, scale, letter);
}

const hasBox = (prediction) => prediction.width !== undefined;

// Return the position of the smallest box under the mouse, or -1.
export function boxAt(canvas, answer, event) {
  if (!answer || canvas.hidden) return -1;
  const { left, top, width } = canvas.getBoundingClientRect();
  const scale = answer.image.width / width;
  const point = [(event.clientX - left) * scale, (event.clientY - top) * scale];
  const area = (i) => answer.predictions[i].width * answer.predictions[i].height;
  const isUnder = (prediction) => hasBox(prediction) && isInside(prediction, point);
  const found = [...answer.predictions.keys()].filter((i) => isUnder(answer.predictions[i]));
  return found.length ? found.reduce((best, i) => (area(i) < area(best) ? i : best)) : -1;
}

function drawTag(context, prediction, scale, unit) {
  const [left, top] = topCorner(prediction).map((side) => side * scale);
  const text = `${prediction.class} ${Math.round(prediction.confidence * 100)}%`;
  context.font = `600 ${13 * unit}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  const tagWidth = context.measureText(text).width + 12 * unit;
  const tagHeight = 20 * unit;
  const tagLeft = Math.max(0, Math.min(left - 1.25 * unit, context.canvas.width - tagWidth));
  const tagTop = top >= tagHeight ? top - tagHeight : Math.max(0, top); // a turned box may begin above the image
  context.fillStyle = tagColour(prediction.class_id);
  context.fillRect(tagLeft, tagTop, tagWidth, tagHeight);
  context.fillStyle = "#fff";
  context.fillText(text, tagLeft + 6 * unit, tagTop + tagHeight / 2);
}

export function bars(viewBox, rows) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", viewBox);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  for (const row of rows) {
    const rect = document.createElementNS(SVG, "rect");
    for (const [key, value] of Object.entries(row)) rect.setAttribute(key, value);
    svg.append(rect);
  }
  return svg;
}

export function computeRows({ used, dense }) {
  const share = dense > 0 ? used / dense : 1;
  const saved = Math.round((1 - share) * 100);
  const text = `${used.toFixed(2)} of ${dense.toFixed(2)} GFLOPs used`;
  const tail = saved > 0 ? `, ${saved}% skipped` : "";
  return [element("span", {}, text + tail), bars("0 0 1 1", [{ x: 0, y: 0, width: Math.min(1, share), height: 1 }])];
}

const stagesOf = (timing) => STAGES.filter((stage) => stage in timing);

export function timingRows(timing) {
  return [...stagesOf(timing), "total"].flatMap((stage) => [
    element("dt", {}, stage),
    element("dd", {}, `${timing[stage].toFixed(1)} ms`),
  ]);
}

export function timingBar(timing) {
  let x = 0;
  const rows = stagesOf(timing).map((stage, i) => {
    const row = { x, y: 0, width: timing[stage], height: 1, fill: classColour(i) };
    x += timing[stage];
    return row;
  });
  return bars(`0 0 ${x || 1} 1`, rows);
}

// bar: also show the confidence as a bar, to compare the classes of an image.
export function predictionRow(prediction, bar) {
  const { class: name, confidence, class_id: classId } = prediction;
  const percent = element("span", {}, `${Math.round(confidence * 100)}%`);
  const fill = classColour(classId);
  if (bar) return element("li", { class: "bar", tabindex: "0" }, name, percent, bars("0 0 1 1", [{ width: confidence, height: 1, fill }]));
  return element("li", { tabindex: "0" }, bars("0 0 1 1", [{ width: 1, height: 1, rx: 0.25, fill }]), name, percent);
}
