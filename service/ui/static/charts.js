// Draw series of numbers as SVG. This file knows nothing about where the numbers come from.
// Text is HTML beside the drawing, so that it keeps its size, and so that a screen reader finds it.

import { element } from "/ui/draw.js";

const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT] = [300, 80]; // of the drawing's own coordinates; it is stretched to its place

export function svg(name, attributes, ...children) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

// Return a figure with one line for each series; null in a series is a gap.
// lines: [{ name, values }], all values from left to right, at the same distances. unit: follows each number.
// most: the value at the upper edge; without it, the largest value is there.
export function lineChart({ title, unit, digits, lines, most = null }) {
  const known = lines.flatMap((line) => line.values).filter((value) => value !== null);
  const top = most ?? Math.max(...known, Number.EPSILON);
  const words = lines.map((line) => `${line.name} ${inWords(line.values.findLast((value) => value !== null), unit, digits)}`);
  return element(
    "figure", { class: "chart" },
    element("figcaption", {}, title, element("span", {}, known.length ? `0 to ${inWords(top, unit, digits)}` : "")),
    svg(
      "svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": `${title}: now ${words.join(", ")}` },
      ...lines.map((line, i) => svg("path", { d: pathOf(line.values, top), class: `line line-${i}` })),
    ),
    element("ul", { class: "legend" }, ...words.map((text, i) => element("li", { class: `key-${i}` }, text))),
  );
}

function inWords(value, unit, digits) {
  return value === undefined ? "none yet" : `${value.toFixed(digits)} ${unit}`.trim();
}

function pathOf(values, top) {
  const step = WIDTH / Math.max(1, values.length - 1);
  let path = "", pen = "M";
  for (const [i, value] of values.entries()) {
    if (value === null) { pen = "M"; continue; }
    const [x, y] = [i * step, HEIGHT - 2 - (value / top) * (HEIGHT - 4)];
    path += `${pen}${x.toFixed(1)} ${y.toFixed(1)}`;
    if (pen === "M") path += "h0.01"; // a single value is a dot
    pen = "L";
  }
  return path;
}

// Return a figure with a bar for each share, and a mark at its expected value.
// rows: [{ name, now, expected }], shares 0..1; now and expected may be null.
export function shareChart({ title, rows }) {
  return element(
    "figure", { class: "chart" },
    element("figcaption", {}, title),
    element("ul", { class: "shares" }, ...rows.map(shareRow)),
  );
}

export function shareRow({ name, now, expected, note = "" }) {
  const words = `${percent(now)}${expected === null ? "" : ` (${percent(expected)})`}`;
  return element("li", {}, element("span", { class: "share-name" }, name), shareBar(now, expected), element("span", { class: "share-words" }, note || words));
}

function shareBar(now, expected) {
  const parts = [svg("rect", { class: "bar-now", x: 0, y: 0, width: now ?? 0, height: 1 })];
  if (expected !== null) parts.push(svg("rect", { class: "bar-expected", x: Math.min(0.99, expected), y: 0, width: 0.01, height: 1 }));
  return svg("svg", { viewBox: "0 0 1 1", preserveAspectRatio: "none", "aria-hidden": "true" }, ...parts);
}

// A share above 0 is never written as 0%.
export function percent(share) {
  if (share === null) return "none yet";
  return share > 0 && share < 0.005 ? "<1%" : `${Math.round(share * 100)}%`;
}
