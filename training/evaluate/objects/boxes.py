"""Objects as boxes along the axes of the image."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from training.data.evaluation import Truth
from training.data.images.letterbox import Letterbox
from training.evaluate.detections import Candidates, DetectConfig, Detections
from training.ops.nms import class_aware_nms

# N, M boxes


class _Boxes:
    """Objects as boxes. kind.ObjectKind documents the attributes and methods."""

    name: Final = "boxes"
    score: Final = "mAP"
    overlap: Final = "IoU"
    iou_type: Final = "bbox"

    def keep(
        self, candidates: Candidates, placed: Letterbox, image_hw: tuple[int, int], config: DetectConfig
    ) -> Detections:
        return keep_boxes(candidates, placed, image_hw, config)[0]

    def overlaps(self, found: Detections, truth: Truth) -> NDArray[np.float64]:
        return box_iou(found.boxes_xyxy, truth.boxes_xyxy)

    def shares_ignored(self, found: Detections, truth: Truth) -> NDArray[np.float64]:
        return shares_inside(found.boxes_xyxy, truth.ignored_xyxy)

    def counted(self, truth: Truth) -> NDArray[np.bool_]:
        return np.ones(len(truth.class_ids), dtype=np.bool_)

    def truth_rows(self, truth: Truth) -> list[Mapping[str, Any]]:
        return [{}] * len(truth.class_ids)

    def ignored_rows(self, truth: Truth) -> list[Mapping[str, Any]]:
        return [{}] * len(truth.ignored_xyxy)

    def found_rows(self, found: Detections) -> list[Mapping[str, Any]]:
        return [{"bbox": box} for box in coco_boxes(found.boxes_xyxy).tolist()]


def keep_boxes(
    candidates: Candidates, placed: Letterbox, image_hw: tuple[int, int], config: DetectConfig
) -> tuple[Detections, Candidates]:
    """Return the candidates of one image that NMS and `config` keep.

    Returns:
        The kept candidates in two forms: as detections, clipped to the source image, and as candidates, in
        pixels of the model input.
    """
    likely = candidates.likely(config.conf)
    rows = class_aware_nms(likely.boxes_xyxy, likely.scores, likely.class_ids, config.iou, config.max_det)
    kept = likely.rows(rows)
    height, width = image_hw
    source = placed.to_source(kept.boxes_xyxy.numpy()).clip(0, (width, height, width, height))
    found = Detections(source.astype(np.float32), kept.scores.numpy(), kept.class_ids.long().numpy())
    return found, kept


def coco_boxes(boxes_xyxy: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return boxes (N, 4) as left, top, width and height, rounded to thousandths of a pixel.

    Labels have two decimals, and the error of float32 corners is under a thousandth of a pixel, so rounding
    removes it. Without rounding, an overlap that is exactly equal to a threshold could come out below it.
    """
    boxes = boxes_xyxy.astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    return boxes.round(3)


def box_iou(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the intersection over union (N, M) of all pairs of boxes (N, 4) and (M, 4) xyxy."""
    shared = _shared(one, other)
    union = _area(one)[:, None] + _area(other)[None] - shared
    return np.asarray(shared / np.maximum(union, 1e-9))


def shares_inside(boxes: NDArray[np.float32], regions: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the share (N, M) of the area of each box (N, 4) that is inside each region (M, 4), all xyxy."""
    return np.asarray(_shared(boxes, regions) / np.maximum(_area(boxes), 1e-9)[:, None])


def _shared(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    a, b = one.astype(np.float64)[:, None], other.astype(np.float64)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    return np.asarray(sides.clip(0).prod(axis=-1))


def _area(boxes: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray((boxes[:, 2:].astype(np.float64) - boxes[:, :2]).clip(0).prod(axis=1))


BOXES = _Boxes()
