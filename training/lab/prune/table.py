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
    """Return every expert's share of images and mean weight, and whether it is dropped."""
    rows: list[tuple[object, ...]] = [("layer", "expert", "of images", "mean weight", "")]
    for use in uses:
        for expert, (share, weight) in enumerate(zip(use.expert_share, use.mean_weight, strict=True)):
            name = use.layer if expert == 0 else ""
            fate = "" if expert in kept[use.layer] else "dropped"
            rows.append((name, expert, f"{share:.1%}", f"{weight:.3f}", fate))
    return "\n".join(in_columns(rows, "lrrrl"))


def prune_report(result: Pruning) -> str:
    """Return the result as text."""
    lines = [
        f"use measured on {result.measured_on}: {result.measured_images} images at "
        f"K={result.measured_top_k}; {result.rule}",
        use_table(result.uses, result.kept),
        "",
        f"mAP and routing on {result.scored_on}: {result.scored_images} images, the same for both",
        *in_columns([*_comparison(result.before, result.after)], "lrrr", indent=2),
        *_notes(result),
    ]
    if result.latency is not None:
        lines += ["", *_latency(result.latency)]
    return "\n".join([*lines, "", f"wrote {result.output}"])


def prune_json(result: Pruning) -> str:
    """Return the result as JSON; times in seconds."""
    return json.dumps(asdict(result) | {"output": str(result.output)})


def _comparison(before: Side, after: Side) -> Iterator[tuple[object, ...]]:
    yield ("", "before", "after", "")
    for layer, experts in before.experts.items():
        yield (f"experts {layer}", experts, after.experts[layer], "")
    parameters = after.parameters / before.parameters
    yield ("parameters", f"{before.parameters:,}", f"{after.parameters:,}", f"{parameters:.3f}×")
    first, second = before.dense_gflops, after.dense_gflops
    yield ("GFLOPs, every expert", f"{first:.3f}", f"{second:.3f}", f"{second / first:.3f}×")
    for top_k, gflops in before.gflops.items():
        if top_k not in after.gflops:
            yield (f"GFLOPs at K={top_k}", f"{gflops:.3f}", "-", "")
        else:
            mine = after.gflops[top_k]
            yield (f"GFLOPs at K={top_k}", f"{gflops:.3f}", f"{mine:.3f}", f"{mine / gflops:.3f}×")
    at = f"K={before.top_k}" if before.top_k == after.top_k else f"K={before.top_k}, {after.top_k}"
    for name, old, new in (
        ("mAP50", before.map50, after.map50),
        ("mAP50-95", before.map50_95, after.map50_95),
    ):
        yield (f"{name} at {at}", f"{old:.4f}", f"{new:.4f}", f"{new - old:+.4f}")
    for layer, bits in before.bits.items():
        yield (f"bits {layer}", f"{bits:.3f}", f"{after.bits[layer]:.3f}", "")


def _notes(result: Pruning) -> Iterator[str]:
    if result.scored_on == result.measured_on:
        yield "  these images also chose the experts, which flatters the mAP: give another --val-split"
    always = [layer for layer, experts in result.after.experts.items() if experts <= result.after.top_k]
    if always:
        yield f"  every expert left runs for every image: {', '.join(always)}"
    if result.weight_threshold:
        yield (
            f"  probabilities grow by what dropped experts had: more experts reach the weight threshold of "
            f"{result.weight_threshold:g}"
        )


def _latency(latency: Latency) -> Iterator[str]:
    rounds = f"{latency.rounds} rounds in turns, {latency.refused} refused"
    yield f"OpenVINO float32, one thread, one image, {rounds}; {latency.machine}"
    rows = []
    for kind, pair in latency.pairs.items():
        ratio = f"{pair.ratio.median:.3f}× ({pair.ratio.low:.3f} to {pair.ratio.high:.3f})"
        rows.append((kind, _ms(pair.before_s), _ms(pair.after_s), ratio))
    yield from in_columns(rows, "lrrl", indent=2)
    if latency.noise is not None:
        noise = latency.noise
        yield f"  before to itself, dense: {noise.median:.3f}× ({noise.low:.3f} to {noise.high:.3f})"
    if latency.noisy:
        yield "  the machine was too busy for as many quiet rounds as were wanted: measure again"


def _ms(seconds: Quartiles) -> str:
    return f"{seconds.median * 1000:.1f} ms"
