"""COCO mean average precision, computed with the library faster-coco-eval by the COCO API's own rules."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

from training.data.evaluation import Truth
from training.data.labels.rows import ANY_CLASS
from training.errors import DatasetError
from training.evaluate.detections import Detections
from training.evaluate.objects.boxes import BOXES, coco_boxes
from training.evaluate.objects.corners import corner_iou, shares_inside
from training.evaluate.objects.keypoints import Keypoints
from training.evaluate.objects.kind import ObjectKind

COCO_MAX_DETECTIONS = 100  # of each class of an image: COCO counts no more, whatever max_det is
COCO_MAX_POSES = 20  # of keypoints, COCO counts fewer detections


class MeanAp(NamedTuple):
    """COCO precision and recall, 0..1, averaged over the classes that occur in the labels.

    The figure for a size is None if no object has this size. Objects are small if their area is below 32²
    pixels, and large above 96². If the labels state the area of the object's outline, as COCO's labels do,
    this area counts; otherwise, the area of the box counts. For each class in an image, COCO counts the 100
    best detections. For keypoints, it counts only the 20 best, and has no figure for small objects.
    """

    map50_95: float
    map50: float
    map75: float
    map50_by_class: dict[str, float]  # of the classes that occur in the truth
    map50_95_by_class: dict[str, float]
    map50_95_small: float | None
    map50_95_medium: float | None
    map50_95_large: float | None
    ar1: float | None  # recall of the best detection of each class in each image, mean over IoU 0.50..0.95
    ar10: float | None  # as ar1, with the best ten detections
    ar20: float | None  # None except for keypoints; they have no other AR
    ar100: float | None
    ar100_small: float | None
    ar100_medium: float | None
    ar100_large: float | None


def mean_average_precision(
    truths: Sequence[Truth],
    detections: Sequence[Detections],
    class_names: Sequence[str],
    kind: ObjectKind = BOXES,
) -> MeanAp:
    """Score detections against the labels of the same images, in the same order.

    An ignored region is treated as the COCO API treats a crowd: if enough of the area of a detection of the
    region's class is inside the region, the detection counts neither as right nor as wrong. A region without
    a class applies to detections of every class. Detections of equal score rank in the order of the images.

    Args:
        kind: the kind of objects that are compared: boxes, masks, keypoints or corners.

    Raises:
        DatasetError: the images hold no object, so that mAP is not defined.
    """
    evaluation = coco_evaluation(truths, detections, kind)
    evaluation.run()
    # precision: (thresholds 0.50..0.95, recalls, classes, areas, detection limits); -1 where undefined.
    # recall: the same without recalls.
    precision = np.asarray(evaluation.eval["precision"])[..., -1]
    recall = np.asarray(evaluation.eval["recall"])
    params = evaluation.params
    occurring = {class_names[class_id]: place for place, class_id in enumerate(params.catIds)}

    def of_size(values: np.ndarray, size: str) -> float | None:
        return _mean(values[..., params.areaRngLbl.index(size)]) if size in params.areaRngLbl else None

    def recall_with(limit: int, size: str = "all") -> float | None:
        return of_size(recall[..., params.maxDets.index(limit)], size) if limit in params.maxDets else None

    return MeanAp(
        map50_95=_defined_mean(precision[..., 0]),
        map50=_defined_mean(precision[0, ..., 0]),
        map75=_defined_mean(precision[5, ..., 0]),
        map50_by_class={name: _defined_mean(precision[0, :, i, 0]) for name, i in occurring.items()},
        map50_95_by_class={name: _defined_mean(precision[:, :, i, 0]) for name, i in occurring.items()},
        map50_95_small=of_size(precision, "small"),
        map50_95_medium=of_size(precision, "medium"),
        map50_95_large=of_size(precision, "large"),
        ar1=recall_with(1),
        ar10=recall_with(10),
        ar20=recall_with(COCO_MAX_POSES),
        ar100=recall_with(COCO_MAX_DETECTIONS),
        ar100_small=recall_with(COCO_MAX_DETECTIONS, "small"),
        ar100_medium=recall_with(COCO_MAX_DETECTIONS, "medium"),
        ar100_large=recall_with(COCO_MAX_DETECTIONS, "large"),
    )


def coco_evaluation(
    truths: Sequence[Truth], detections: Sequence[Detections], kind: ObjectKind = BOXES, **options: object
) -> COCOeval_faster:
    """Return the COCO API's evaluation for the classes that occur in the labels, ready to run.

    Raises:
        DatasetError: the images hold no object.
    """
    occurring = sorted({int(each) for truth in truths for each in truth.class_ids[kind.counted(truth)]})
    if not occurring:
        with_points = " with a labelled keypoint" if isinstance(kind, Keypoints) else ""
        raise DatasetError(f"the evaluation images hold no object{with_points}; mAP is not defined")
    images = [{"id": i, "height": t.image_hw[0], "width": t.image_hw[1]} for i, t in enumerate(truths)]
    categories = [{"id": class_id, "name": str(class_id)} for class_id in occurring]
    rows = _truth_rows(truths, occurring, kind)
    truth = COCO({"images": images, "annotations": rows, "categories": categories})
    found = _detection_rows(detections, kind)
    result = truth.loadRes(found) if found else COCO({"images": images, "categories": categories})
    options |= {"print_function": lambda *_: None}
    if kind.name == "corners":
        return _CornerEvaluation(truth, result, kind.iou_type, **options)
    evaluation = COCOeval_faster(truth, result, kind.iou_type, **options)
    if isinstance(kind, Keypoints):
        evaluation.params.kpt_oks_sigmas = np.array(kind.sigmas)
    return evaluation


class _CornerEvaluation(COCOeval_faster):
    """The COCO API's evaluation with the exact overlaps of oriented boxes."""

    def computeIoU(self, imgId: int, catId: int) -> np.ndarray | list[float]:  # noqa: N802, N803 names of COCO
        """Return the overlaps of an image's best detections with its objects, by descending score."""
        labelled, found = self.gt_dataset.get(imgId, catId), self.dt_dataset.get(imgId, catId)
        if not labelled or not found:
            return []
        best = sorted(found, key=lambda row: -row["score"])[: self.params.maxDets[-1]]
        corners = np.stack([row["corners"] for row in best])
        overlaps = np.zeros((len(best), len(labelled)))
        crowd = np.array([bool(row["iscrowd"]) for row in labelled])
        if crowd.any():
            regions = np.stack([row["region"] for row in labelled if row["iscrowd"]])
            overlaps[:, crowd] = shares_inside(corners, regions)
        if not crowd.all():
            objects = np.stack([row["corners"] for row in labelled if not row["iscrowd"]])
            overlaps[:, ~crowd] = corner_iou(corners, objects)
        return overlaps


def coco_max_detections(kind: ObjectKind) -> int:
    """Return the number of detections of a class in an image that COCO counts, beginning with the best."""
    return COCO_MAX_POSES if kind.name == "keypoints" else COCO_MAX_DETECTIONS


def _mean(values: np.ndarray) -> float | None:
    """Return the mean of the defined values; None if no value is defined."""
    defined = values[values >= 0]
    return float(defined.mean()) if defined.size else None


def _defined_mean(values: np.ndarray) -> float:
    """Return the mean of the defined values; 0 if no value is defined, because no object is then scored."""
    return _mean(values) or 0.0


def _truth_rows(
    truths: Sequence[Truth], occurring: Sequence[int], kind: ObjectKind
) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = []

    def add(image_id: int, class_id: int, row: Mapping[str, Any], *, crowd: bool) -> None:
        named = {"id": len(rows) + 1, "image_id": image_id, "category_id": class_id, "iscrowd": int(crowd)}
        rows.append({**named, **row})

    for image_id, truth in enumerate(truths):
        objects = zip(
            truth.class_ids.tolist(),
            coco_boxes(truth.boxes_xyxy).tolist(),
            truth.object_areas.tolist(),
            kind.truth_rows(truth),
            strict=True,
        )
        for class_id, box, area, more in objects:
            add(image_id, class_id, {"bbox": box, "area": area, **more}, crowd=False)
        regions = truth.ignored_class_ids
        if regions is None:
            regions = np.full(len(truth.ignored_xyxy), ANY_CLASS)
        ignored = zip(
            regions.tolist(), coco_boxes(truth.ignored_xyxy).tolist(), kind.ignored_rows(truth), strict=True
        )
        for class_id, box, more in ignored:
            for each in occurring if class_id == ANY_CLASS else [class_id]:
                add(image_id, each, {"bbox": box, "area": box[2] * box[3], **more}, crowd=True)
    return rows


def _detection_rows(detections: Sequence[Detections], kind: ObjectKind) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = []
    for image_id, found in enumerate(detections):
        objects = zip(found.class_ids.tolist(), found.scores.tolist(), kind.found_rows(found), strict=True)
        rows += [{"image_id": image_id, "category_id": c, "score": s, **more} for c, s, more in objects]
    return rows
