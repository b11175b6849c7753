"""COCO mean average precision, by the COCO API's own rules (faster-coco-eval)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

from training.data.evaluation import Truth
from training.errors import DatasetError
from training.evaluate.detections import Detections

COCO_MAX_DETECTIONS = 100  # COCO counts an image's best hundred, however many were asked for


class MeanAp(NamedTuple):
    """0..1; averaged over classes that occur in the truth."""

    map50_95: float
    map50: float
    map75: float
    map50_by_class: dict[str, float]  # of the classes that occur in the truth
    map50_95_by_class: dict[str, float]


def mean_average_precision(
    truths: Sequence[Truth], detections: Sequence[Detections], class_names: Sequence[str]
) -> MeanAp:
    """Score detections against the truth of the same images, in the same order.

    Raises:
        DatasetError: the images hold no object, so that there is nothing to score.
    """
    truth_rows = _truth_rows(truths)
    if not truth_rows:
        raise DatasetError("the evaluation images hold no object; mAP is not defined")
    truth = COCO(
        {
            "images": [
                {"id": i, "height": t.image_hw[0], "width": t.image_hw[1]} for i, t in enumerate(truths)
            ],
            "annotations": truth_rows,
            "categories": [{"id": i, "name": name} for i, name in enumerate(class_names)],
        }
    )
    ids = {int(class_id) for each in truths for class_id in each.class_ids}
    occurring = {class_id: class_names[class_id] for class_id in sorted(ids)}
    found = _detection_rows(detections)
    if not found:
        zeros = dict.fromkeys(occurring.values(), 0.0)
        return MeanAp(0.0, 0.0, 0.0, zeros, zeros)
    evaluation = COCOeval_faster(truth, truth.loadRes(found), "bbox", print_function=lambda *_: None)
    evaluation.run()
    # precision: (thresholds 0.50..0.95, recalls, classes, areas, detection limits); -1 where undefined
    precision = np.asarray(evaluation.eval["precision"])[:, :, :, 0, -1]
    return MeanAp(
        map50_95=_defined_mean(precision),
        map50=_defined_mean(precision[0]),
        map75=_defined_mean(precision[5]),
        map50_by_class={n: _defined_mean(precision[0, :, i]) for i, n in occurring.items()},
        map50_95_by_class={n: _defined_mean(precision[:, :, i]) for i, n in occurring.items()},
    )


def _defined_mean(precision: np.ndarray) -> float:
    return float(precision[precision >= 0].mean())


def _truth_rows(truths: Sequence[Truth]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for image_id, truth in enumerate(truths):
        for (x1, y1, x2, y2), class_id in zip(
            truth.boxes_xyxy.tolist(), truth.class_ids.tolist(), strict=True
        ):
            box = [x1, y1, x2 - x1, y2 - y1]
            rows.append(
                {
                    "id": len(rows) + 1,
                    "image_id": image_id,
                    "category_id": class_id,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                }
            )
    return rows


def _detection_rows(detections: Sequence[Detections]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for image_id, found in enumerate(detections):
        wh = found.boxes_xyxy[:, 2:] - found.boxes_xyxy[:, :2]
        boxes = np.concatenate([found.boxes_xyxy[:, :2], wh], axis=1).tolist()
        for box, score, class_id in zip(boxes, found.scores.tolist(), found.class_ids.tolist(), strict=True):
            rows.append({"image_id": image_id, "category_id": class_id, "bbox": box, "score": score})
    return rows
