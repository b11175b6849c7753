"""Two checkpoints beside one another, for people and for machines."""

import json

from training.evaluate.comparison import Comparison


def comparison_report(found: Comparison) -> str:
    """The result for people; mAP in percent."""
    width = max(len(found.first.name), len(found.second.name))
    lines = [f"{found.images} images", f"{'':<{width}}  mAP50-95   mAP50   GFLOPs used"]
    lines += [
        f"{side.name:<{width}}  {100 * side.mean_ap.map50_95:8.2f}  {100 * side.mean_ap.map50:6.2f}"
        f"  {side.gflops:13.2f}"
        for side in (found.first, found.second)
    ]
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
    """The result for machines; mAP 0..1."""
    sides = {
        name: {"name": side.name, "gflops": side.gflops, **side.mean_ap._asdict()}
        for name, side in (("first", found.first), ("second", found.second))
    }
    return json.dumps({"images": found.images, **sides, "difference": found.difference._asdict()})
