// Read Prometheus' text format, and calculate from it what the charts show. This file uses no network.

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;
const ESCAPED = { n: "\n", "\\": "\\", '"': '"' };

// Return the samples of a text: [{ name, labels, value }].
export function samplesOf(text) {
  return text.split("\n").map((line) => LINE.exec(line)).filter(Boolean).map(([, name, labels = "", value]) => ({
    name,
    labels: Object.fromEntries([...labels.matchAll(LABEL)].map(([, key, quoted]) => [key, unquoted(quoted)])),
    value: value === "+Inf" ? Infinity : Number(value),
  }));
}

const unquoted = (text) => text.replace(/\\(.)/g, (_, letter) => ESCAPED[letter] ?? letter);

// Return what the charts need about one model's version; a part is null if the service does not export it.
export function snapshotOf(samples, model, version) {
  const of = (name) => samples.filter((sample) => sample.name === name);
  const mine = (name) => of(name).filter(({ labels }) => labels.model === model && (labels.version ?? version) === version);
  // This series does not tell the versions of a model apart, so it counts the images only of a single version.
  const versions = new Set(of("sparsight_expert_activations_total").filter(({ labels }) => labels.model === model).map(({ labels }) => labels.version));
  const images = versions.size > 1 ? null : byLayer(mine("sparsight_router_entropy_bits_count"));
  const chosen = byExpert(mine("sparsight_expert_activations_total"));
  const latest = byExpert(mine("sparsight_expert_share"));
  return {
    buckets: bucketsOf(of("sparsight_request_duration_seconds_bucket").filter(({ labels }) => labels.route === "/detect")),
    images: images && Math.max(0, ...Object.values(images)),
    shares: latest ?? (chosen && images && sharesOf(chosen, images)),
    isLatest: latest !== null, // the shares are those of the latest images, not of all since the service started
    expected: byExpert(mine("sparsight_expert_baseline_share")),
    driftBits: byLayer(mine("sparsight_routing_drift_bits")),
    drifting: mine("sparsight_routing_drifting").length ? mine("sparsight_routing_drifting").some(({ value }) => value === 1) : null,
  };
}

function sharesOf(chosen, images) {
  return Object.fromEntries(Object.entries(chosen).map(([layer, counts]) => [layer, counts.map((count) => count / images[layer])]));
}

function byLayer(samples) {
  return samples.length ? Object.fromEntries(samples.map(({ labels, value }) => [labels.layer, value])) : null;
}

function byExpert(samples) {
  if (!samples.length) return null;
  const found = {};
  for (const { labels, value } of samples) (found[labels.layer] ??= [])[Number(labels.expert)] = value;
  return found;
}

// Return [[upper bound in seconds, requests up to it]], ascending; the last bound is infinite.
function bucketsOf(samples) {
  const rows = samples.map(({ labels, value }) => [labels.le === "+Inf" ? Infinity : Number(labels.le), value]);
  return rows.sort(([one], [other]) => one - other);
}

// Return a quantile in milliseconds of the requests between two snapshots; null if there were none.
// It is interpolated within its bucket, as Prometheus does it.
export function quantileMs(before, after, quantile) {
  const counts = after.map(([bound, count], i) => [bound, count - (before[i]?.[1] ?? 0)]);
  const total = counts.at(-1)?.[1] ?? 0;
  if (total <= 0) return null;
  const rank = quantile * total;
  const place = counts.findIndex(([, count]) => count >= rank);
  const [below, under] = place > 0 ? counts[place - 1] : [0, 0];
  const [bound, count] = counts[place];
  if (bound === Infinity) return below * 1000;
  return (below + (bound - below) * ((rank - under) / (count - under))) * 1000;
}
