"""Format the result of a pruning for people and as JSON."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

from training.columns import in_columns
from training.evaluate.expert_use import LayerUse
from training.lab.benchmark.rows import Quartiles
from training.lab.prune.latency import Latency
from training.lab.prune.outcome import Pruning, Side


def use_table(uses: Sequence[LayerUse], kept: Mapping[str, Sequence[int]]) -> str:
    """Return a table of the use of each expert, which also shows the experts that pruning removes.

    The use of an expert is the share of images for which the router chose it, and its mean weight.
    """
    rows: list[tuple[object, ...]] = [("layer", "expert", "of images", "mean weight", "")]
    for use in uses:
        for expert, (share, weight) in enumerate(zip(use.expert_share, use.mean_weight, strict=True)):
            name = use.layer if expert == 0 else ""
            fate = "" if expert in kept[use.layer] else "dropped"
            rows.append((name, expert, f"{share:.1%}", f"{weight:.3f}", fate))
    return "\n".join(in_columns(rows, "lrrrl"))


def prune_report(result: Pruning) -> str:
    """Return the result of a pruning as text."""
    lines = [
        f"use measured on {result.measured_on}: {result.measured_images} images at "
        f"K={result.measured_top_k}; {result.rule}",
        use_table(result.uses, result.kept),
        "",
        f"{result.before.metric} and routing of both models on {result.scored_on}: "
        f"{result.scored_images} images",
        *in_columns([*_comparison(result.before, result.after)], "lrrr", indent=2),
        *_notes(result),
    ]
    if result.latency is not None:
        lines += ["", *_latency(result.latency)]
    return "\n".join([*lines, "", f"wrote {result.output}"])


def prune_json(result: Pruning) -> str:
    """Return the result of a pruning as JSON; times are in seconds."""
    return json.dumps(asdict(result) | {"output": str(result.output)})


def _comparison(before: Side, after: Side) -> Iterator[tuple[object, ...]]:
    yield ("", "before", "after", "")
    for layer, experts in before.experts.items():
        yield (f"experts {layer}", experts, after.experts[layer], "")
    parameters = after.parameters / before.parameters
    yield ("parameters", f"{before.parameters:,}", f"{after.parameters:,}", f"{parameters:.3f}×")
    gflops: list[tuple[str, float, float | None]]
    gflops = [("GFLOPs, every expert", before.dense_gflops, after.dense_gflops)]
    gflops += [(f"GFLOPs at K={top_k}", old, after.gflops.get(top_k)) for top_k, old in before.gflops.items()]
    for name, old, new in gflops:
        shown = ("-", "") if new is None else (f"{new:.3f}", f"{new / old:.3f}×")
        yield (name, f"{old:.3f}", *shown)
    at = f"K={before.top_k}" if before.top_k == after.top_k else f"K={before.top_k}, {after.top_k}"
    for name, old, new in (
        (f"{before.metric}50", before.map50, after.map50),
        (f"{before.metric}50-95", before.map50_95, after.map50_95),
    ):
        yield (f"{name} at {at}", f"{old:.4f}", f"{new:.4f}", f"{new - old:+.4f}")
    for layer, bits in before.bits.items():
        yield (f"bits {layer}", f"{bits:.3f}", f"{after.bits[layer]:.3f}", "")


def _notes(result: Pruning) -> Iterator[str]:
    if result.scored_on == result.measured_on:
        yield "  use was measured on the same images, so the mAP is too high: give another --val-split"
    always = [layer for layer, experts in result.after.experts.items() if experts <= result.after.top_k]
    if always:
        yield f"  every kept expert runs for every image: {', '.join(always)}"
    if result.weight_threshold:
        threshold = f"weight threshold of {result.weight_threshold:g}"
        yield f"  the probabilities of kept experts grow, so more experts reach the {threshold}"


def _latency(latency: Latency) -> Iterator[str]:
    rounds = f"{latency.rounds} rounds in turns, {latency.refused} refused"
    yield f"OpenVINO float32, one thread, one image, {rounds}; {latency.machine}"
    rows = []
    for kind, pair in latency.pairs.items():
        times = [f"{each.median * 1000:.1f} ms" for each in (pair.before_s, pair.after_s)]
        rows.append((kind, *times, _ratio(pair.ratio)))
    yield from in_columns(rows, "lrrl", indent=2)
    if latency.noise is not None:
        yield f"  noise, the ratio of two equal graphs: {_ratio(latency.noise)}"
    if latency.noisy:
        yield "  the machine was too busy for the wanted number of quiet rounds: measure again"


def _ratio(ratio: Quartiles) -> str:
    return f"{ratio.median:.3f}× ({ratio.low:.3f} to {ratio.high:.3f})"
