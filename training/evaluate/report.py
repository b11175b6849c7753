"""Format the result of an evaluation as text and as JSON."""

import json
from collections.abc import Sequence

from training.columns import in_columns
from training.evaluate.accuracy import Accuracy
from training.evaluate.curves import Curves
from training.evaluate.expert_use import LayerUse
from training.evaluate.mean_ap import COCO_MAX_DETECTIONS, MeanAp


def evaluation_report(mean_ap: MeanAp, curves: Curves, images: int, uses: Sequence[LayerUse] = ()) -> str:
    """Return the figures of a detector, and the use of its experts, as text."""
    lines = [
        f"{images} images   mAP50 {mean_ap.map50:.4f}   mAP50-95 {mean_ap.map50_95:.4f}"
        f"   mAP75 {mean_ap.map75:.4f}",
        f"mAP50-95 small {or_dash(mean_ap.map50_95_small)}   medium {or_dash(mean_ap.map50_95_medium)}"
        f"   large {or_dash(mean_ap.map50_95_large)}   AR1 {mean_ap.ar1:.4f}   AR10 {mean_ap.ar10:.4f}"
        f"   AR100 {mean_ap.ar100:.4f}",
        f"(conf 0.001, NMS IoU 0.7, max_det 300, of which COCO scores the best {COCO_MAX_DETECTIONS})",
    ]
    best, own, at = curves.at_best(), curves.best_by_class, curves.best
    lines.append(
        f"precision {best['precision']:.4f}   recall {best['recall']:.4f}   F1 {best['f1']:.4f}   at "
        f"confidence {best['confidence']:.3f}, where the mean F1 of the classes is highest (IoU 0.5)"
    )
    heading = ("class", "objects", "mAP50", "mAP50-95", "precision", "recall", "F1", "own best confidence")
    classes = [
        (
            name,
            curves.objects[row],
            f"{mean_ap.map50_by_class[name]:.4f}",
            f"{mean_ap.map50_95_by_class[name]:.4f}",
            *(f"{each[row, at]:.4f}" for each in (curves.precision, curves.recall, curves.f1)),
            f"{own[row]:.3f}",
        )
        for row, name in enumerate(curves.class_names)
    ]
    lines += in_columns([heading, *classes], "lrrrrrrr", indent=2)
    return "\n".join(lines + expert_lines(uses))


def expert_lines(uses: Sequence[LayerUse]) -> list[str]:
    """Return one line for each layer: its information, sets of experts, and each expert's share of images.

    If all experts run for every image, their mean weights are shown instead of the shares.
    """
    lines = []
    for use in uses:
        all_run = min(use.expert_share) == 1  # then only weights differ between experts
        shown = use.mean_weight if all_run else use.expert_share
        shares = "  ".join(f"{share:4.0%}" for share in shown)
        lines.append(
            f"  {use.layer}: {use.information_bits:.3f} bit, {use.distinct_sets} sets of experts, "
            f"{'all run, weighing' if all_run else 'chosen'} {shares}"
        )
    return lines


def or_dash(value: float | None) -> str:
    """Return a figure with four digits, or a dash for None."""
    return "-" if value is None else f"{value:.4f}"


def evaluation_json(figures: MeanAp | Accuracy, images: int, uses: Sequence[LayerUse], **more: object) -> str:
    """Return all arguments as one JSON object; its member `experts` is `uses`, or null if there are none."""
    experts = [vars(use) for use in uses] or None
    return json.dumps({"images": images, **figures._asdict(), **more, "experts": experts})
