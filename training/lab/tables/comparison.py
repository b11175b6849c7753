"""Format the comparison of two checkpoints for people and as JSON."""

import json

from training.columns import in_columns
from training.evaluate.comparison import Comparison


def comparison_report(found: Comparison) -> str:
    """Return the comparison as text; mAP in percent."""
    rows = [("", "mAP50-95", "mAP50", "GFLOPs used")]
    for side in (found.first, found.second):
        figures = (100 * side.mean_ap.map50_95, 100 * side.mean_ap.map50, side.gflops)
        rows.append((side.name, *(f"{figure:.2f}" for figure in figures)))  # type: ignore[arg-type]
    lines = [f"{found.images} images", *in_columns(rows, "lrrr")]
    difference = found.difference
    verdict = "so the difference may be chance"
    if difference.low > 0 or difference.high < 0:
        better = found.first if difference.low > 0 else found.second
        verdict = f"so {better.name} is better"
    lines += [
        f"mAP50-95 differs by {100 * difference.difference:+.2f}; in 95 % of {difference.draws} draws of the "
        f"images by {100 * difference.low:+.2f} to {100 * difference.high:+.2f},",
        f"{verdict} (on images like these: other seeds of the training are not in it)",
    ]
    return "\n".join(lines)


def comparison_json(found: Comparison) -> str:
    """Return the comparison as JSON; mAP 0..1."""
    sides = {
        name: {"name": side.name, "gflops": side.gflops, **side.mean_ap._asdict()}
        for name, side in (("first", found.first), ("second", found.second))
    }
    return json.dumps({"images": found.images, **sides, "difference": found.difference._asdict()})
