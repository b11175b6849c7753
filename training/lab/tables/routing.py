"""Format the report on routing for people and as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np

from training.columns import in_columns
from training.evaluate.compute_use import ComputeUse
from training.evaluate.dependence import PERMUTATIONS
from training.evaluate.expert_use import STATIC_BELOW_BITS, LayerUse
from training.evaluate.groups import Grouping
from training.evaluate.routing_report import GOAL_BITS, LayerRouting, RoutingReport
from training.lab.tables.paths import path_json, path_lines

LEGEND = (
    "bits: the information about the image in a layer's probabilities",
    f"routes: at least {GOAL_BITS:g} bit; static: below {STATIC_BELOW_BITS:g}; weak: between the two",
    "sets: different sets of experts that ran; set bits: entropy of their shares",
    "NMI: normalised mutual information of set and group, 0 to 1 (by chance), p of "
    f"{PERMUTATIONS:,} permutations",
)


def routing_table(report: RoutingReport, heading: str) -> str:
    """Return the report as text: a table of layers, the images' GFLOPs, and which goals are met or missed."""
    names = [grouping.name for grouping in report.groupings]
    titles = ("layer", "bits", "", "sets", "commonest", "set bits", *(f"NMI with {name}" for name in names))
    layers = [_layer(layer, names) for layer in report.layers]
    lines = [heading, *LEGEND]
    for grouping in report.groupings:
        sizes = ", ".join(f"{label} ({count})" for label, count in _sizes(grouping).items())
        lines.append(f"{grouping.name}: {sizes}")
    if report.path is not None:
        lines += ["", *path_lines(report.path, names)]
    lines.append("")
    lines += in_columns([titles, *layers], "lrlrrr" + "r" * len(names))
    lines += ["", "share of images that chose each expert (mean weight if all experts run for every image)"]
    lines += _experts([layer.use for layer in report.layers])
    lines += ["", *_compute(report.compute), "", "goals"]
    lines += [f"  {'met   ' if goal.met else 'MISSED'}  {goal.what}: {goal.found}" for goal in report.goals]
    if not report.groupings:
        lines.append("  no groups to compare with: one origin, and the same number of boxes in every image")
    if report.static:
        below = f"below {STATIC_BELOW_BITS:g} bit in every layer"
        lines.append(f"STATIC: {below}; each answer of an exported model reports this")
        if any(layer.use.distinct_sets > 1 for layer in report.layers):
            lines.append(
                "  Sets still differ: tiny differences between probabilities decide which experts run."
            )
    return "\n".join(lines)


def routing_json(report: RoutingReport, facts: Mapping[str, object]) -> str:
    """Return the report as JSON; `facts` are fields about the model and the data, which come first."""
    layers = []
    for layer in report.layers:
        dependence = {name: found._asdict() for name, found in layer.by_grouping.items()}
        said = {"dead_experts": layer.use.dead_experts, "verdict": verdict(layer), "dependence": dependence}
        layers.append(asdict(layer.use) | said)
    found = {
        "images": report.images,
        "static": report.static,
        "layers": layers,
        "groups": {grouping.name: _sizes(grouping) for grouping in report.groupings},
        "compute": asdict(report.compute),
        "goals": [asdict(goal) for goal in report.goals],
    }
    if report.path is not None:
        found["paths"] = path_json(report.path)
    return json.dumps({**facts, **found})


def verdict(layer: LayerRouting) -> str:
    """Return a word for how much the layer's routing depends on the image: `routes`, `weak` or `static`."""
    if layer.informed:
        return "routes"
    return "static" if layer.use.information_bits < STATIC_BELOW_BITS else "weak"


def _layer(layer: LayerRouting, names: list[str]) -> tuple[object, ...]:
    use, groups = layer.use, []
    for name in names:
        found, mark = layer.by_grouping[name], "*" if layer.follows(name) else " "
        groups.append(f"{found.nmi:.2f}{mark}({found.chance:.2f})  p {found.p_value:.4f}")
    sets = (use.distinct_sets, f"{use.commonest_set_share:.0%}", f"{use.set_entropy_bits:.2f}")
    return (use.layer, f"{use.information_bits:.3f}", verdict(layer), *sets, *groups)


def _experts(uses: Sequence[LayerUse]) -> list[str]:
    """Return one line for each layer about its experts; layers may have different numbers of experts."""
    most = max((len(use.expert_share) for use in uses), default=0)
    rows = []
    for use in uses:
        all_run = min(use.expert_share) == 1
        shown = [f"{share:.0%}" for share in (use.mean_weight if all_run else use.expert_share)]
        dead = f"DEAD: {' '.join(map(str, use.dead_experts))}" if use.dead_experts else ""
        remarks = "  ".join(remark for remark in ("weights" if all_run else "", dead) if remark)
        rows.append((use.layer, *shown, *[""] * (most - len(shown)), remarks))
    return in_columns(rows, "l" + "r" * most + "l")


def _sizes(grouping: Grouping) -> Mapping[str, int]:
    counts = np.bincount(grouping.ids)
    return {label: int(count) for label, count in zip(grouping.labels, counts, strict=True)}


def _compute(compute: ComputeUse) -> list[str]:
    lines = [
        f"GFLOPs an image: {compute.mean:.3f} used on average ({compute.least:.3f} to {compute.most:.3f}), "
        f"{compute.fixed:.3f} fixed, {compute.dense:.3f} with every expert"
    ]
    if compute.by_density:
        means = ", ".join(f"{label} {mean:.3f}" for label, mean in compute.by_density.items())
        lines.append(f"  by boxes an image: {means}")
    if compute.pearson is None or compute.spearman is None:
        return [*lines, "  no correlation with boxes: GFLOPs or boxes are the same for every image"]
    found = f"Spearman {compute.spearman:+.2f}, Pearson {compute.pearson:+.2f}"
    return [*lines, f"  correlation with boxes: {found}"]
