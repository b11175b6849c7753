"""The report on routing, for people and for machines."""

import json
from collections.abc import Mapping
from dataclasses import asdict

import numpy as np

from training.evaluate.compute_use import ComputeUse
from training.evaluate.dependence import PERMUTATIONS, Dependence
from training.evaluate.expert_use import STATIC_BELOW_BITS, LayerUse
from training.evaluate.groups import Grouping
from training.evaluate.routing_report import GOAL_BITS, LayerRouting, RoutingReport

_COLUMNS = "{:<13}{:>7}  {:<9}{:>6}{:>11}{:>10}{:>24}{:>24}".format

LEGEND = (
    f"bits: what a layer's probabilities say of the image, 0 if nothing; routes from {GOAL_BITS:g},"
    f" static below {STATIC_BELOW_BITS:g}",
    "sets: different sets of experts that ran; set bits: entropy of their shares",
    "NMI: normalised mutual information of set and group, 0 to 1 (by chance), p of "
    f"{PERMUTATIONS:,} permutations",
)


def routing_table(report: RoutingReport, heading: str) -> str:
    """The table, what is asked of it, and what images cost."""
    names = [grouping.name for grouping in report.groupings]
    titles = [f"NMI with {name}" for name in names] + [""] * (2 - len(names))
    lines = [heading, *LEGEND, *map(_group_sizes, report.groupings), ""]
    lines.append(_COLUMNS("layer", "bits", "", "sets", "commonest", "set bits", *titles).rstrip())
    lines += [_layer(layer, names) for layer in report.layers]
    lines += ["", "share of images that chose each expert (mean weight where all always run)"]
    lines += [_experts(layer.use) for layer in report.layers]
    lines += ["", *_compute(report.compute), "", "goals"]
    lines += [f"  {'met   ' if goal.met else 'MISSED'}  {goal.what}: {goal.found}" for goal in report.goals]
    if not report.groupings:
        lines.append("  no groups to compare with: one origin, and as many boxes in every image")
    if report.static:
        lines.append(
            f"STATIC: below {STATIC_BELOW_BITS:g} bit in every layer; an export says so in every answer"
        )
        if any(layer.use.distinct_sets > 1 for layer in report.layers):
            lines.append(
                "  Sets differ all the same: all but equal probabilities decide who runs, by a hair."
            )
    return "\n".join(lines)


def routing_json(report: RoutingReport, facts: Mapping[str, object]) -> str:
    """The same for machines, after facts of the model and the data; GFLOPs in 1e9 operations."""
    layers = [
        asdict(layer.use)
        | {
            "dead_experts": layer.use.dead_experts,
            "verdict": verdict(layer),
            "dependence": {name: found._asdict() for name, found in layer.by_grouping.items()},
        }
        for layer in report.layers
    ]
    return json.dumps(
        {
            **facts,
            "images": report.images,
            "static": report.static,
            "layers": layers,
            "groups": {grouping.name: _sizes(grouping) for grouping in report.groupings},
            "compute": asdict(report.compute),
            "goals": [asdict(goal) for goal in report.goals],
        }
    )


def verdict(layer: LayerRouting) -> str:
    """One word: routes, weak or static."""
    if layer.informed:
        return "routes"
    return "static" if layer.use.information_bits < STATIC_BELOW_BITS else "weak"


def _layer(layer: LayerRouting, names: list[str]) -> str:
    use = layer.use
    cells = [_dependence(layer.by_grouping[name], layer.follows(name)) for name in names]
    return _COLUMNS(
        use.layer,
        f"{use.information_bits:.3f}",
        verdict(layer),
        use.distinct_sets,
        f"{use.commonest_set_share:.0%}",
        f"{use.set_entropy_bits:.2f}",
        *cells,
        *[""] * (2 - len(cells)),
    ).rstrip()


def _dependence(found: Dependence, follows: bool) -> str:
    mark = "*" if follows else " "
    return f"{found.nmi:.2f}{mark}({found.chance:.2f})  p {found.p_value:.4f}"


def _experts(use: LayerUse) -> str:
    all_run = min(use.expert_share) == 1
    shown = use.mean_weight if all_run else use.expert_share
    shares = "".join(f"{share:6.0%}" for share in shown)
    dead = "".join(f" {expert}" for expert in use.dead_experts)
    return f"{use.layer:<13}{shares}{'  weights' if all_run else ''}{f'  DEAD:{dead}' if dead else ''}"


def _group_sizes(grouping: Grouping) -> str:
    sizes = ", ".join(f"{label} ({count})" for label, count in _sizes(grouping).items())
    return f"{grouping.name}: {sizes}"


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
    if compute.pearson is not None and compute.spearman is not None:
        lines.append(
            f"  correlation with boxes: Spearman {compute.spearman:+.2f}, Pearson {compute.pearson:+.2f}"
        )
    else:
        lines.append("  no correlation with boxes: one of the two is the same for every image")
    return lines
