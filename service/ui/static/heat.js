// Draw a map of effects over an image, and put it into words. This file uses no network.
// An effect above 0 speaks for the layer's most probable expert, one below 0 against it.

const FOR = "213 94 0", AGAINST = "0 114 178"; // RGB; Okabe and Ito chose them so that the colour-blind tell them apart
const STRONGEST_OPACITY = 0.75;
const SIGNED = 0.5; // cells from this share of the largest effect on also have a sign
const CLEARLY = 2; // a map is confirmed if its marked quarter moves the router so many times as much as a random one,
const LEAST = 0.25; // and at least so much; less changes a probability by at most 6 percentage points
const PATH = "path"; // stands for the router of a model with paths in place of a layer
const ROWS = ["upper", "middle", "lower"], COLUMNS = ["left", "centre", "right"];

const largestOf = (effects) => Math.max(...effects.flat().map(Math.abs));

// grid: an explanation, with rows, cols and its place in the image. scale: canvas pixels per image pixel.
export function drawMap(context, grid, effects, scale) {
  context.save();
  context.globalCompositeOperation = "saturation"; // the image becomes grey, so that only the map has colours
  context.fillStyle = "#888";
  context.fillRect(0, 0, context.canvas.width, context.canvas.height);
  context.globalCompositeOperation = "source-over";
  const edge = (start, length, count) => (place) => Math.round((start + (place * length) / count) * scale);
  const [left, top] = [edge(grid.x, grid.width, grid.cols), edge(grid.y, grid.height, grid.rows)];
  const largest = largestOf(effects) || 1;
  for (const [row, line] of effects.entries()) {
    for (const [col, effect] of line.entries()) {
      const cell = [left(col), top(row), left(col + 1) - left(col), top(row + 1) - top(row)];
      context.fillStyle = `rgb(${effect > 0 ? FOR : AGAINST} / ${STRONGEST_OPACITY * (Math.abs(effect) / largest)})`;
      context.fillRect(...cell);
      if (Math.abs(effect) >= SIGNED * largest && effect !== 0) drawSign(context, effect > 0 ? "+" : "−", cell);
    }
  }
  context.restore();
}

function drawSign(context, sign, [left, top, width, height]) {
  context.font = `600 ${0.45 * Math.min(width, height)}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.lineWidth = Math.min(width, height) / 16;
  context.strokeStyle = "#000";
  context.fillStyle = "#fff";
  context.strokeText(sign, left + width / 2, top + height / 2);
  context.fillText(sign, left + width / 2, top + height / 2);
}

// A model with paths has one router only, which chooses a path and not an expert.
const kindOf = ({ layer }) => (layer === PATH ? "path" : "expert");

// Return what the map of a layer shows, and whether hiding its strongest quarter confirms it.
export function wordsOf(layer) {
  return [...regionsOf(layer), ...checkOf(layer)].join(" ");
}

function regionsOf({ layer, expert, effects }) {
  const parts = partsOf(effects);
  const most = parts.reduce((best, one) => (one.mean > best.mean ? one : best));
  const least = parts.reduce((best, one) => (one.mean < best.mean ? one : best));
  const what = layer === PATH ? `path ${expert}` : `expert ${expert} of ${layer}`;
  const found = most.mean > 0 ? `The ${most.name} part of the image speaks most for ${what}.` : `No part of the image speaks for ${what}.`;
  return least.mean < 0 ? [found, `The ${least.name} part speaks most against it.`] : [found];
}

// Return the mean effect of each ninth of the map: single cells are uncertain, larger regions are less so.
function partsOf(effects) {
  const parts = new Map();
  const third = (place, count) => Math.floor(((place + 0.5) * 3) / count);
  for (const [row, line] of effects.entries()) {
    for (const [col, effect] of line.entries()) {
      const [down, right] = [third(row, effects.length), third(col, line.length)];
      const name = down === 1 && right === 1 ? "central" : `${ROWS[down]} ${COLUMNS[right]}`;
      parts.set(name, [...(parts.get(name) ?? []), effect]);
    }
  }
  return [...parts].map(([name, values]) => ({ name, mean: values.reduce((sum, one) => sum + one, 0) / values.length }));
}

function checkOf(layer) {
  const kind = kindOf(layer);
  const { marked_fall: marked, random_fall: random, whole_fall: whole } = layer;
  const tested = `If the quarter of the cells with the largest effects is hidden, the odds of this ${kind} become ${timesOf(marked)} as high; if a random quarter is hidden, ${timesOf(random)} as high.`;
  if (whole <= 0) return [tested, `The image's mean colour alone leads to this ${kind}, so this map says little.`];
  return [tested, isConfirmed(layer) ? "So the map shows what this router reacts to." : "So this image does not confirm the map; do not rely on it."];
}

// Return whether hiding the strongest quarter of a layer's map confirms the map.
export function isConfirmed({ marked_fall: marked, random_fall: random, whole_fall: whole }) {
  return whole > 0 && marked >= LEAST && marked > CLEARLY * Math.max(0, random);
}

// Odds are easier to imagine than their logarithm.
function timesOf(fall) {
  const times = Math.exp(-fall);
  if (times < 0.001) return "less than 0.001 times";
  return `${times < 99.5 ? times.toPrecision(2) : Math.round(times)} times`;
}

// Return the meaning of the two colours: [{ key, text }].
export function legendOf({ layer, expert, effects }) {
  const values = effects.flat(), signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;
  return [
    { key: "for", text: `+ speaks for ${kindOf({ layer })} ${expert}, up to ${signed(Math.max(0, ...values))} log-odds` },
    { key: "against", text: `− speaks against it, down to ${signed(Math.min(0, ...values))} log-odds` },
  ];
}
