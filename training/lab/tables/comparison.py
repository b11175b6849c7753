"""Format the comparison of two checkpoints for people and as JSON."""

import json

from training.columns import in_columns
from training.evaluate.comparison import Comparison


def comparison_report(found: Comparison) -> str:
    """Return the comparison of two checkpoints as text; mAP is in percent."""
    score = found.kind.score
    rows = [("", f"{score}50-95", f"{score}50", "GFLOPs used")]
    for side in (found.first, found.second):
        quality = (f"{100 * side.mean_ap.map50_95:.2f}", f"{100 * side.mean_ap.map50:.2f}")
        rows.append((side.name, *quality, f"{side.gflops:.2f}"))
    difference = found.difference
    verdict = "so the difference may be chance"
    if difference.low > 0 or difference.high < 0:
        verdict = f"so {(found.first if difference.low > 0 else found.second).name} is better"
    return "\n".join(
        [
            f"{found.images} images",
            *in_columns(rows, "lrrr"),
            f"{score}50-95 differs by {100 * difference.difference:+.2f}; in 95 % of {difference.draws} "
            f"random samples of the images by {100 * difference.low:+.2f} to {100 * difference.high:+.2f},",
            f"{verdict} (on images like these; the chance in training is not included)",
        ]
    )


def comparison_json(found: Comparison) -> str:
    """Return the comparison of two checkpoints as JSON; mAP is from 0 to 1."""
    sides = {
        name: {"name": side.name, "gflops": side.gflops, **side.mean_ap._asdict()}
        for name, side in (("first", found.first), ("second", found.second))
    }
    heading = {"images": found.images, "metric": found.kind.score}
    return json.dumps({**heading, **sides, "difference": found.difference._asdict()})
