"""Format the result of an evaluation as text and as JSON."""

import json
from collections.abc import Sequence

from training.columns import in_columns
from training.evaluate.accuracy import Accuracy
from training.evaluate.evaluator import Evaluation
from training.evaluate.expert_use import LayerUse
from training.evaluate.mean_ap import MeanAp, coco_max_detections
from training.evaluate.objects.boxes import BOXES
from training.evaluate.routed import Result


def evaluation_report(result: Evaluation) -> str:
    """Return the figures of a detector, and the use of its experts, as text.

    If the detector finds masks or keypoints, another line has the mAP of their boxes.
    """
    mean_ap, curves, kind = result.mean_ap, result.curves, result.kind
    counted = coco_max_detections(kind)
    recalls = {name: getattr(mean_ap, name.lower()) for name in ("AR1", "AR10", "AR20", "AR100")}
    lines = [
        f"{result.images} images   {_precisions(kind.score, mean_ap)}",
        *([] if result.box_ap is None else [f"boxes alone   {_precisions(BOXES.score, result.box_ap)}"]),
        f"{kind.score}50-95 small {or_dash(mean_ap.map50_95_small)}"
        f"   medium {or_dash(mean_ap.map50_95_medium)}   large {or_dash(mean_ap.map50_95_large)}"
        + "".join(f"   {name} {recall:.4f}" for name, recall in recalls.items() if recall is not None),
        f"(conf 0.001, NMS IoU 0.7, max_det 300, of which COCO scores the best {counted} of each class)",
    ]
    best, own, at = curves.at_best(), curves.best_by_class, curves.best
    lines.append(
        f"precision {best['precision']:.4f}   recall {best['recall']:.4f}   F1 {best['f1']:.4f}   at "
        f"confidence {best['confidence']:.3f}, where the mean F1 of the classes is highest "
        f"({kind.overlap} 0.5)"
    )
    score = kind.score
    heading = ("class", "objects", f"{score}50", f"{score}50-95", "precision", "recall", "F1")
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
    lines += in_columns([(*heading, "own best confidence"), *classes], "lrrrrrrr", indent=2)
    return "\n".join(lines + expert_lines(result.experts, result.paths))


def _precisions(score: str, mean_ap: MeanAp) -> str:
    of_thresholds = {"50": mean_ap.map50, "50-95": mean_ap.map50_95, "75": mean_ap.map75}
    return "   ".join(f"{score}{name} {value:.4f}" for name, value in of_thresholds.items())


def expert_lines(uses: Sequence[LayerUse], paths: LayerUse | None) -> list[str]:
    """Return one line for each layer: its information, its sets of experts, and each expert's image share.

    If all experts run for every image, the line has the experts' mean weights instead of their shares. If the
    network has paths, the first line has the information in the choice of a path and the paths' image shares.
    """
    lines = []
    if paths is not None:
        shares = "  ".join(f"{share:4.0%}" for share in paths.expert_share)
        dead = f"; DEAD: {' '.join(map(str, paths.dead_experts))}" if paths.dead_experts else ""
        lines.append(f"  path: {paths.information_bits:.3f} bit, taken {shares}{dead}")
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
    """Return a figure as text with four digits, or a dash for None."""
    return "-" if value is None else f"{value:.4f}"


def detection_json(result: Evaluation) -> str:
    """Return a detector's figures, the metric's name and the mAP of the boxes as one JSON object."""
    of_boxes = {} if result.box_ap is None else {"box": result.box_ap._asdict()}
    more = {"metric": result.kind.score, "best_f1": result.curves.at_best(), **of_boxes}
    return evaluation_json(result.mean_ap, result, **more)


def evaluation_json(figures: MeanAp | Accuracy, result: Result, **more: object) -> str:
    """Return the figures, `more`, and the use of experts and paths as one JSON object.

    Its member `experts` is null without mixture layers. Only a network with paths has the member `paths`.
    """
    experts = [vars(use) for use in result.experts] or None
    document = {"images": result.images, **figures._asdict(), **more, "experts": experts}
    if (paths := result.paths) is not None:
        shares, dead = paths.expert_share, paths.dead_experts
        document["paths"] = {"information_bits": paths.information_bits, "share": shares, "dead": dead}
    return json.dumps(document)
