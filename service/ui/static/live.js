// Show what the service does now: use of experts, drift and latency, from its /metrics and from this tab's answers.

import { lineChart, shareChart } from "/ui/charts.js";
import { element } from "/ui/draw.js";
import { inWords } from "/ui/drift.js";
import { samplesOf, snapshotOf, quantileMs } from "/ui/metrics.js";

const EVERY_MS = 2000;
const POINTS = 120; // of a series
const REASONS = { 401: "It asks for a key with the scope metrics.", 403: "This key does not give access to them.", 404: "It has none at this address." };

// panel: the <details>; nothing is requested while it is closed. place: for the charts. note: where they come from.
// read(): fetches /metrics, without asking the person for a key. modelOf(): the model that is shown, or null.
export function liveCharts({ panel, place, note }, { read, modelOf }) {
  const own = []; // milliseconds of this tab's answers
  let history = emptyHistory(), timer = 0;

  async function poll() {
    clearTimeout(timer);
    if (!panel.open) return;
    const model = modelOf();
    if (model && !document.hidden) await update(model);
    if (panel.open) timer = setTimeout(poll, EVERY_MS);
  }

  async function update(model) {
    if (history.of !== `${model.name} ${model.version}`) history = emptyHistory(`${model.name} ${model.version}`);
    const { snapshot, reason } = await take(read, model);
    if (snapshot) extend(history, snapshot);
    note.textContent = snapshot ? sentence(model, snapshot) : `The service does not show its metrics here. ${reason} Below are this tab's answers only.`;
    draw(snapshot);
  }

  function draw(snapshot) {
    place.replaceChildren(
      lineChart({ title: "Latency of this tab's answers", unit: "ms", digits: 1, lines: [{ name: "total", values: own }] }),
      ...(snapshot ? serviceCharts(history, snapshot) : []),
    );
  }

  panel.addEventListener("toggle", poll);
  document.addEventListener("visibilitychange", poll);
  return {
    answered(answer) {
      push(own, answer.timing_ms.total);
    },
  };
}

const emptyHistory = (of = "") => ({ of, before: null, median: [], slow: [], drift: {} });

async function take(read, model) {
  try {
    const response = await read();
    if (!response.ok) return { snapshot: null, reason: REASONS[response.status] ?? `It answers with status ${response.status}.` };
    return { snapshot: snapshotOf(samplesOf(await response.text()), model.name, model.version) };
  } catch {
    return { snapshot: null, reason: "It does not answer." };
  }
}

function extend(history, snapshot) {
  const before = history.before ?? snapshot.buckets;
  push(history.median, quantileMs(before, snapshot.buckets, 0.5));
  push(history.slow, quantileMs(before, snapshot.buckets, 0.95));
  for (const [layer, bits] of Object.entries(snapshot.driftBits ?? {})) push((history.drift[layer] ??= []), bits);
  history.before = snapshot.buckets;
}

function push(series, value) {
  series.push(value);
  if (series.length > POINTS) series.shift();
}

function serviceCharts(history, { shares, expected, isLatest }) {
  const latency = lineChart({
    title: "Latency of all requests to /detect", unit: "ms", digits: 0,
    lines: [{ name: "half are faster than", values: history.median }, { name: "95% are faster than", values: history.slow }],
  });
  const drift = Object.entries(history.drift).map(([layer, values]) => ({ name: inWords(layer), values }));
  const when = isLatest ? "latest images" : "since the start";
  const use = Object.keys(shares ?? {}).map((layer) => shareChart({
    title: `${layer}, ${when}`,
    rows: shares[layer].map((now, expert) => ({ name: `expert ${expert}`, now: Number.isFinite(now) ? now : null, expected: expected?.[layer]?.[expert] ?? null })),
  }));
  return [
    latency,
    ...(drift.length ? [lineChart({ title: "Drift; at 1 bit, nothing is as at export", unit: "bit", digits: 2, lines: drift, most: 1 })] : []),
    ...(use.length ? [element("h3", {}, `Share of images${isLatest ? " with the default settings" : ""} that chose an expert; in brackets, and as a mark, its share at export`)] : []),
    ...use,
  ];
}

function sentence(model, { images, driftBits, drifting }) {
  const count = images === null ? "" : ` It has answered ${images} images since it started.`;
  const drift = drifting ? " Routing differs from the baseline." : drifting === false ? " Routing is as at export." : "";
  const unknown = driftBits === null ? " It does not measure drift." : "";
  return `From the service's metrics, for ${model.name} ${model.version}, every ${EVERY_MS / 1000} seconds.${count}${drift}${unknown}`;
}
