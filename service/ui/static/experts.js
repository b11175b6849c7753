// Show the experts of an answer and, from the release's own report, what each of them serves.
// Names of layers, classes and data sets come from models, so they are inserted as text only, never as HTML.

import { percent, shareRow } from "/ui/charts.js";
import { bars, element } from "/ui/draw.js";
import { driftNote } from "/ui/drift.js";
import { thumbnails } from "/ui/seen.js";

const CLEARLY = 1.25; // a group is named if its images choose the expert at least this often, compared with all images
const MOST_ROWS = 6;
const FEW = 20; // images of a group, below which a share says little
const TITLES = { origin: "Data sets", density: "Labelled objects per image", class: "Classes" };

// layer: one of an answer. idle: the word for experts that were not chosen: a sparse graph skips them, a dense one
// computes them. open: the experts of this layer become buttons that call open(expert).
// marked: experts to highlight.
export function layerRow(layer, idle, open = null, marked = []) {
  const items = Array.from({ length: layer.experts }, (_, expert) => expertItem(layer, expert, idle, open));
  for (const expert of marked) items[expert].classList.add("only");
  const bits = element("span", { title: "Entropy of the router's probabilities; 0 bit: the router is certain" }, `${layer.entropy_bits.toFixed(2)} bit`);
  return element(
    "div", { class: "layer", "data-layer": layer.layer },
    element("div", { class: "layer-head" }, layer.layer, bits),
    element("ul", { class: "experts", "aria-label": `Experts of ${layer.layer}` }, ...items),
  );
}

// Return a line about the path of an answer, or null if the model has no paths.
export function pathLine({ path }) {
  if (!path) return null;
  const why = "Chosen before the network ran; it says which experts run in every layer";
  return element("p", { class: "path", title: why }, `Path ${path.index}, ${percent(path.probability)}`);
}

function expertItem(layer, expert, idle, open) {
  const place = layer.active.indexOf(expert);
  const weight = place < 0 ? 0 : layer.weights[place];
  const label = place < 0 ? `expert ${expert} ${idle}` : `expert ${expert} ran with weight ${percent(weight)}`;
  const content = [element("b", {}, `${expert}`)];
  if (place >= 0) content.unshift(bars("0 0 1 1", [{ x: 0, y: 1 - weight, width: 1, height: weight }]));
  if (place >= 0) content.push(element("i", {}, percent(weight)));
  const item = element("li", { class: place < 0 ? "expert" : "expert active", title: label });
  if (!open) {
    item.setAttribute("aria-label", label);
    item.append(...content);
    return item;
  }
  const button = element("button", { type: "button", "aria-label": `${label}; what it serves`, "aria-expanded": "false" }, ...content);
  button.addEventListener("click", () => open(expert));
  item.append(button);
  return item;
}

// Return the card's content: an object with show(answer, idle, report, reason), which fills `place`.
// seen: remembers the images of this tab. report: what the experts serve, or null; reason: why it is null.
export function expertsCard(place, seen) {
  let opened = null; // { layer, expert }: the one that is explained
  const show = (answer, idle, report, reason) => {
    const focused = place.contains(document.activeElement) ? [...place.querySelectorAll("button")].indexOf(document.activeElement) : -1;
    const rows = answer.moe.layers.map((layer) => {
      const open = (expert) => {
        opened = opened?.layer === layer.layer && opened.expert === expert ? null : { layer: layer.layer, expert };
        mark(place, answer, opened, report, seen);
      };
      const row = layerRow(layer, idle, open);
      if (report) row.append(element("p", { class: "serves" }, ...layer.active.map((expert) => element("span", {}, `${expert} serves ${servedBy(report, layer.layer, expert)}`))));
      row.append(element("div", { class: "expert-detail", hidden: "" }));
      return row;
    });
    place.replaceChildren(...[driftNote(answer.moe), pathLine(answer.moe)].filter(Boolean), ...rows, element("p", { class: "quiet" }, noteOf(answer, report, reason)));
    mark(place, answer, opened, report, seen);
    if (focused >= 0) place.querySelectorAll("button")[focused]?.focus();
  };
  return { show };
}

function noteOf(answer, report, reason) {
  if (!report) return `${reason} Choose an expert to see which images of this tab chose it.`;
  const { top_k: topK } = report.controls;
  const other = answer.moe.top_k !== null && answer.moe.top_k !== topK ? ` This answer ran with ${answer.moe.top_k}.` : "";
  const serves = `An expert serves the images that choose it clearly more often, at least ${CLEARLY} times as often as all images.`;
  return `Choose an expert to see more. ${serves} Measured at export on ${report.images} labelled images (${report.data}), with ${topK} experts per layer.${other}`;
}

function mark(place, answer, opened, report, seen) {
  for (const row of place.querySelectorAll(".layer")) {
    const isOpen = opened?.layer === row.dataset.layer;
    row.querySelectorAll(".expert button").forEach((button, expert) => button.setAttribute("aria-expanded", `${isOpen && expert === opened.expert}`));
    const detail = row.querySelector(".expert-detail");
    detail.hidden = !isOpen;
    detail.replaceChildren(...(isOpen ? detailOf(answer.model.name, opened, report, seen) : []));
  }
}

// Name the groups of images that choose an expert clearly more often than all images do.
function servedBy(report, layer, expert) {
  const grouping = report.groupings.find(({ name }) => name === "origin") ?? report.groupings.find(({ name }) => name === "class");
  const rows = grouping ? rowsOf(report, grouping, layer, expert).filter(({ lift }) => lift >= CLEARLY).slice(0, 3) : [];
  return rows.map(({ label }) => label).join(", ") || "every kind of image";
}

// Return the groups of a grouping with the share of their images that chose an expert, the highest first.
function rowsOf(report, grouping, layer, expert) {
  const found = report.layers.find((one) => one.layer === layer);
  if (!found) return [];
  const usual = found.expert_share[expert];
  const rows = grouping.groups.map(({ label, images }, i) => {
    const share = found.shares[grouping.name][i][expert];
    return { label, images, share, usual, lift: usual > 0 ? share / usual : 0 };
  });
  return rows.sort((one, other) => other.share - one.share);
}

function detailOf(model, { layer, expert }, report, seen) {
  const parts = [element("h3", {}, `Expert ${expert} of ${layer}`)];
  const usual = report?.layers.find((one) => one.layer === layer)?.expert_share[expert];
  if (usual !== undefined) {
    parts.push(element("p", {}, `Chosen for ${percent(usual)} of the labelled images (the mark in each bar). For which of them:`));
    for (const grouping of report.groupings) parts.push(...groupRows(report, grouping, layer, expert));
  }
  const shots = seen.thatChose(model, layer, expert);
  parts.push(element("h4", {}, "Images of this tab"));
  if (shots.length) parts.push(thumbnails(shots));
  const count = shots.length === 1 ? "One image of this tab" : `${shots.length} images of this tab`;
  parts.push(element("p", { class: "quiet" }, `${count} chose it. They stay in this page's memory. The labelled images belong to others, so they are not shown.`));
  return parts;
}

function groupRows(report, grouping, layer, expert) {
  const rows = rowsOf(report, grouping, layer, expert);
  const shown = rows.slice(0, MOST_ROWS).map(({ label, images, share, usual, lift }) => {
    const times = lift >= CLEARLY || lift <= 1 / CLEARLY ? ` · ${lift.toFixed(1)}×` : "";
    return shareRow({ name: images < FEW ? `${label} (${images} images)` : label, now: share, expected: usual, note: `${percent(share)}${times}` });
  });
  const left = rows.length - shown.length;
  return [
    element("h4", {}, TITLES[grouping.name]),
    element("ul", { class: "shares" }, ...shown),
    ...(left > 0 ? [element("p", { class: "quiet" }, `and ${left} more, with ${percent(rows[MOST_ROWS].share)} or less`)] : []),
  ];
}
