"""Objects as oriented boxes, which are given by their corners."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.augmentation.shapes import boxes_around
from training.data.evaluation import Truth
from training.data.images.letterbox import Letterbox
from training.evaluate.detections import Candidates, DetectConfig, Detections
from training.ops.rotated import (
    corners_of,
    oriented_boxes,
    rotated_intersection,
    rotated_iou,
    rotated_nms,
    to_oriented,
)

# N detections · M objects · R ignored regions


class _Corners:
    """Objects as oriented boxes. kind.ObjectKind documents the attributes and methods."""

    name: Final = "corners"
    score: Final = "rotated mAP"
    overlap: Final = "IoU"
    iou_type: Final = "bbox"

    def keep(
        self, candidates: Candidates, placed: Letterbox, image_hw: tuple[int, int], config: DetectConfig
    ) -> Detections:
        """Return the detections; their corners can be outside the image."""
        likely = candidates.likely(config.conf)
        assert likely.extras is not None
        boxes = to_oriented(likely.boxes_xyxy, likely.extras)
        rows = rotated_nms(boxes, likely.scores, likely.class_ids, config.iou, config.max_det)
        corners = placed.points_to_source(corners_of(boxes[rows]).numpy())
        scores, class_ids = likely.scores[rows].numpy(), likely.class_ids[rows].long().numpy()
        return Detections(boxes_around(corners), scores, class_ids, corners=corners)

    def overlaps(self, found: Detections, truth: Truth) -> NDArray[np.float64]:
        return corner_iou(_corners(found), _corners(truth))

    def shares_ignored(self, found: Detections, truth: Truth) -> NDArray[np.float64]:
        return shares_inside(_corners(found), truth.ignored_xyxy)

    def counted(self, truth: Truth) -> NDArray[np.bool_]:
        return np.ones(len(truth.class_ids), dtype=np.bool_)

    def truth_rows(self, truth: Truth) -> list[Mapping[str, Any]]:
        """Return the rows. Their boxes have the side lengths of the oriented boxes, and so the same areas."""
        return _rows(_corners(truth))

    def ignored_rows(self, truth: Truth) -> list[Mapping[str, Any]]:
        return [{"region": box} for box in truth.ignored_xyxy]

    def found_rows(self, found: Detections) -> list[Mapping[str, Any]]:
        return _rows(_corners(found))


def corner_iou(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the exact IoU (N, M) of all pairs of oriented boxes with corners (N, 4, 2) and (M, 4, 2).

    Corners that form no rectangle are replaced by the box that training learns from them.
    """
    return _of_near_pairs(rotated_iou, _oriented(one), _oriented(other))


def shares_inside(corners: NDArray[np.float32], regions_xyxy: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the share (N, R) of each oriented box (N, 4, 2) that is inside each region (R, 4)."""
    boxes, regions = _oriented(corners), torch.from_numpy(regions_xyxy.astype(np.float64))
    regions = to_oriented(regions, torch.zeros(len(regions), dtype=regions.dtype))
    areas = boxes[:, 2:4].prod(dim=-1).clamp(min=1e-9)
    return _of_near_pairs(rotated_intersection, boxes, regions) / areas[:, None].numpy()


def _of_near_pairs(measure: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> NDArray[np.float64]:
    """Return the overlap (N, M), by `measure`, of all pairs of oriented boxes (N, 5) and (M, 5).

    The overlap is computed only for pairs whose circumscribed circles overlap. An aerial image has hundreds
    of objects, but few such pairs. Computing the overlap of all pairs would take gigabytes of memory.
    """
    radii = [each[:, 2:4].norm(dim=-1) / 2 for each in (a, b)]
    near = (a[:, None, :2] - b[None, :, :2]).norm(dim=-1) < radii[0][:, None] + radii[1][None]
    rows, columns = near.nonzero(as_tuple=True)
    overlaps = torch.zeros(near.shape, dtype=torch.float64)
    overlaps[rows, columns] = measure(a[rows], b[columns])
    return overlaps.numpy()


def _corners(objects: Detections | Truth) -> NDArray[np.float32]:
    assert objects.corners is not None
    return objects.corners


def _oriented(corners: NDArray[np.float32]) -> Tensor:
    return oriented_boxes(torch.from_numpy(corners.astype(np.float64)))


def _rows(corners: NDArray[np.float32]) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = []
    for one, (x, y, width, height, _) in zip(corners, _oriented(corners).tolist(), strict=True):
        box = [x - width / 2, y - height / 2, width, height]
        rows.append({"bbox": box, "area": width * height, "corners": one})
    return rows


CORNERS = _Corners()
