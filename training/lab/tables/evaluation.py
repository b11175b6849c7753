"""The result of an evaluation, for people and for machines."""

import json
from collections.abc import Sequence

from training.columns import in_columns
from training.evaluate.classification import ClassEvaluation
from training.evaluate.evaluator import Evaluation
from training.evaluate.expert_use import LayerUse
from training.evaluate.mean_ap import COCO_MAX_DETECTIONS, MeanAp


def evaluation_report(mean_ap: MeanAp, images: int, evaluation: Evaluation | None = None) -> str:
    """The result for people."""
    lines = [
        f"{images} images   mAP50 {mean_ap.map50:.4f}   mAP50-95 {mean_ap.map50_95:.4f}"
        f"   mAP75 {mean_ap.map75:.4f}",
        f"mAP50-95 small {_or_dash(mean_ap.map50_95_small)}   medium {_or_dash(mean_ap.map50_95_medium)}"
        f"   large {_or_dash(mean_ap.map50_95_large)}   AR1 {mean_ap.ar1:.4f}   AR10 {mean_ap.ar10:.4f}"
        f"   AR100 {mean_ap.ar100:.4f}",
        f"(conf 0.001, NMS IoU 0.7, max_det 300, of which COCO scores the best {COCO_MAX_DETECTIONS})",
    ]
    classes = [
        (name, f"{value:.4f}", f"{mean_ap.map50_95_by_class[name]:.4f}")
        for name, value in mean_ap.map50_by_class.items()
    ]
    lines += in_columns([("class", "mAP50", "mAP50-95"), *classes], "lrr", indent=2)
    return "\n".join(lines + _experts(evaluation.experts if evaluation else []))


def classification_report(result: ClassEvaluation) -> str:
    """Return the accuracies of a classifier for people."""
    accuracy = result.accuracy
    lines = [f"{result.images} images   top-1 {accuracy.top1:.4f}   top-5 {accuracy.top5:.4f}"]
    classes = [(name, _or_dash(share)) for name, share in accuracy.by_class.items()]
    lines += in_columns([("class", "top-1"), *classes], "lr", indent=2)
    return "\n".join(lines + _experts(result.experts))


def classification_json(result: ClassEvaluation) -> str:
    """Return the same for machines."""
    experts = [vars(use) for use in result.experts]
    return json.dumps({"images": result.images, **result.accuracy._asdict(), "experts": experts})


def _experts(uses: Sequence[LayerUse]) -> list[str]:
    lines = []
    for use in uses:
        all_run = min(use.expert_share) == 1  # then it is their weights that tell experts apart
        shown = use.mean_weight if all_run else use.expert_share
        shares = "  ".join(f"{share:4.0%}" for share in shown)
        lines.append(
            f"  {use.layer}: {use.information_bits:.3f} bit, {use.distinct_sets} sets of experts, "
            f"{'all run, weighing' if all_run else 'chosen'} {shares}"
        )
    return lines


def _or_dash(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def evaluation_json(mean_ap: MeanAp, images: int, evaluation: Evaluation | None = None) -> str:
    """The result for machines."""
    experts = [vars(use) for use in evaluation.experts] if evaluation else None
    return json.dumps({"images": images, **mean_ap._asdict(), "experts": experts})
