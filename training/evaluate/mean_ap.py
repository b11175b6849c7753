"""COCO mean average precision, by the COCO API's own rules (faster-coco-eval)."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from numpy.typing import NDArray

from training.data.evaluation import Truth
from training.data.labels.rows import ANY_CLASS
from training.errors import DatasetError
from training.evaluate.detections import Detections

COCO_MAX_DETECTIONS = 100  # of each class of an image: COCO counts no more, whatever max_det is
NOTHING = {"image_id": 0, "bbox": [0, 0, 0, 0], "score": 0}  # finds no object; an empty result is refused


class MeanAp(NamedTuple):
    """COCO precision and recall, 0..1, averaged over the classes that occur in the labels.

    The figure for a size is None if no object has this size. Objects are small below an area of 32² pixels,
    and large above 96². The area is that of the object's outline if the labels state it, as COCO's do, and
    otherwise that of its box.
    """

    map50_95: float
    map50: float
    map75: float
    map50_by_class: dict[str, float]  # of the classes that occur in the truth
    map50_95_by_class: dict[str, float]
    map50_95_small: float | None
    map50_95_medium: float | None
    map50_95_large: float | None
    ar1: float  # recall of the best detection of each class in each image, mean over IoU 0.50..0.95
    ar10: float  # as ar1, with the best ten detections
    ar100: float
    ar100_small: float | None
    ar100_medium: float | None
    ar100_large: float | None


def mean_average_precision(
    truths: Sequence[Truth], detections: Sequence[Detections], class_names: Sequence[str]
) -> MeanAp:
    """Score detections against the labels of the same images, in the same order.

    An ignored region is treated as the COCO API treats a crowd: a detection of the region's class counts
    neither as right nor as wrong if enough of the detection's area is inside the region. A region without
    a class applies to detections of every class. Detections of equal score rank in the order of the images.

    Raises:
        DatasetError: the images hold no object, so that mAP is not defined.
    """
    evaluation = coco_evaluation(truths, detections)
    evaluation.run()
    # precision: (thresholds 0.50..0.95, recalls, classes, areas, detection limits); -1 where undefined.
    # recall: the same without recalls. Areas are all, small, medium, large; limits are 1, 10, 100.
    precision = np.asarray(evaluation.eval["precision"])[..., -1]
    recall = np.asarray(evaluation.eval["recall"])
    occurring = {class_names[class_id]: place for place, class_id in enumerate(evaluation.params.catIds)}
    return MeanAp(
        map50_95=_defined_mean(precision[..., 0]),
        map50=_defined_mean(precision[0, ..., 0]),
        map75=_defined_mean(precision[5, ..., 0]),
        map50_by_class={name: _defined_mean(precision[0, :, i, 0]) for name, i in occurring.items()},
        map50_95_by_class={name: _defined_mean(precision[:, :, i, 0]) for name, i in occurring.items()},
        map50_95_small=_mean(precision[..., 1]),
        map50_95_medium=_mean(precision[..., 2]),
        map50_95_large=_mean(precision[..., 3]),
        ar1=_defined_mean(recall[:, :, 0, 0]),
        ar10=_defined_mean(recall[:, :, 0, 1]),
        ar100=_defined_mean(recall[:, :, 0, 2]),
        ar100_small=_mean(recall[:, :, 1, -1]),
        ar100_medium=_mean(recall[:, :, 2, -1]),
        ar100_large=_mean(recall[:, :, 3, -1]),
    )


def coco_evaluation(
    truths: Sequence[Truth], detections: Sequence[Detections], **options: object
) -> COCOeval_faster:
    """Return the COCO API's evaluation for the classes that occur in the labels, ready to run.

    Raises:
        DatasetError: the images hold no object.
    """
    occurring = sorted({int(class_id) for truth in truths for class_id in truth.class_ids})
    if not occurring:
        raise DatasetError("the evaluation images hold no object; mAP is not defined")
    images = [{"id": i, "height": t.image_hw[0], "width": t.image_hw[1]} for i, t in enumerate(truths)]
    categories = [{"id": class_id, "name": str(class_id)} for class_id in occurring]
    rows = _truth_rows(truths, occurring)
    truth = COCO({"images": images, "annotations": rows, "categories": categories})
    found = _detection_rows(detections) or [{**NOTHING, "category_id": occurring[0]}]
    return COCOeval_faster(truth, truth.loadRes(found), "bbox", print_function=lambda *_: None, **options)


def _mean(values: np.ndarray) -> float | None:
    """Return the mean of the defined values; None if no value is defined."""
    defined = values[values >= 0]
    return float(defined.mean()) if defined.size else None


def _defined_mean(values: np.ndarray) -> float:
    return float(values[values >= 0].mean())


def _truth_rows(truths: Sequence[Truth], occurring: Sequence[int]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []

    def add(image_id: int, class_id: int, box: list[float], area: float, *, crowd: bool) -> None:
        row = {"id": len(rows) + 1, "image_id": image_id, "category_id": class_id, "bbox": box}
        rows.append(row | {"area": box[2] * box[3] if math.isnan(area) else area, "iscrowd": int(crowd)})

    for image_id, truth in enumerate(truths):
        areas = np.full(len(truth.class_ids), np.nan) if truth.areas is None else truth.areas
        boxes = coco_boxes(truth.boxes_xyxy).tolist()
        for box, class_id, area in zip(boxes, truth.class_ids.tolist(), areas.tolist(), strict=True):
            add(image_id, class_id, box, area, crowd=False)
        regions = truth.ignored_class_ids
        if regions is None:
            regions = np.full(len(truth.ignored_xyxy), ANY_CLASS)
        for box, class_id in zip(coco_boxes(truth.ignored_xyxy).tolist(), regions.tolist(), strict=True):
            for each in occurring if class_id == ANY_CLASS else [class_id]:
                add(image_id, each, box, math.nan, crowd=True)
    return rows


def _detection_rows(detections: Sequence[Detections]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for image_id, found in enumerate(detections):
        boxes = coco_boxes(found.boxes_xyxy).tolist()
        for box, score, class_id in zip(boxes, found.scores.tolist(), found.class_ids.tolist(), strict=True):
            rows.append({"image_id": image_id, "category_id": class_id, "bbox": box, "score": score})
    return rows


def coco_boxes(boxes_xyxy: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return boxes as left, top, width and height, (N, 4), rounded to thousandths of a pixel.

    Labels are written with two decimals, and float32 corners are exact to within thousandths of a pixel.
    Rounding removes the float32 errors. Without rounding, an overlap that is exactly equal to a threshold
    could come out below the threshold.
    """
    boxes = boxes_xyxy.astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    return boxes.round(3)
