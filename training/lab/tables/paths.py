"""Format the report on the paths of a network: how images choose them, and the experts of each path."""

from collections.abc import Mapping, Sequence
from typing import Any

from training.columns import in_columns
from training.evaluate.routing_report import PathRouting

PATH_LEGEND = "experts of each path, best first: at top_k K, the first K run"


def path_lines(path: PathRouting, groupings: Sequence[str]) -> list[str]:
    """Return the choice of a path and the experts of each path as lines of text.

    Args:
        groupings: names of the groupings of the images; the text shows how the path depends on each.
    """
    use, paths = path.choice.use, path.paths
    most = next(iter(paths.table.values())).shape[1]
    lines = [f"path: {use.information_bits:.3f} bit in the choice among {len(use.expert_share)}"]
    for name in groupings:
        found = path.choice.by_grouping[name]
        lines.append(
            f"  NMI with {name}: {found.nmi:.2f} (by chance {found.chance:.2f}), p {found.p_value:.4f}"
        )
    different = ", ".join(f"{paths.distinct(top_k)} at top_k {top_k}" for top_k in range(1, most))
    lines += [f"  paths with different experts: {different}", "", PATH_LEGEND]
    rows = [
        (
            number,
            "DEAD" if share == 0 else f"{share:.0%}",
            *(" ".join(map(str, paths.ranked(layer)[number])) for layer in paths.table),
        )
        for number, share in enumerate(use.expert_share)
    ]
    return lines + in_columns([("path", "images", *paths.table), *rows], "rr" + "l" * len(paths.table))


def path_json(path: PathRouting) -> Mapping[str, Any]:
    """Return the choice of a path and the experts of each path as values for JSON."""
    use, paths = path.choice.use, path.paths
    table = [
        {
            layer: {"experts": paths.ranked(layer)[number].tolist(), "probabilities": probs[number].tolist()}
            for layer, probs in paths.table.items()
        }
        for number in range(len(use.expert_share))
    ]
    return {
        "information_bits": use.information_bits,
        "share": use.expert_share,
        "dead": use.dead_experts,
        "dependence": {name: found._asdict() for name, found in path.choice.by_grouping.items()},
        "table": table,
    }
