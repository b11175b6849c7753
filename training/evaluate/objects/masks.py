"""Objects as masks."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from faster_coco_eval.core import mask as coco_mask
from numpy.typing import NDArray

from training.config import MASK_STRIDE
from training.data.evaluation import Truth
from training.data.images.letterbox import Letterbox
from training.data.masks import Mask, RunLengths
from training.evaluate.detections import Candidates, DetectConfig, Detections
from training.evaluate.objects.boxes import keep_boxes

# N detections · M objects · K prototypes · h, w of a prototype


class _Masks:
    """Objects as masks. kind.ObjectKind documents the attributes and methods."""

    name: Final = "masks"
    score: Final = "mask mAP"
    overlap: Final = "IoU"
    iou_type: Final = "segm"

    def keep(
        self, candidates: Candidates, placed: Letterbox, image_hw: tuple[int, int], config: DetectConfig
    ) -> Detections:
        found, kept = keep_boxes(candidates, placed, image_hw, config)
        assert kept.extras is not None
        assert kept.prototypes is not None
        prototypes = kept.prototypes.float().numpy()
        masks = tuple(
            RunLengths.of(object_mask(row, prototypes, box, placed, image_hw), image_hw)
            for row, box in zip(kept.extras.numpy(), found.boxes_xyxy, strict=True)
        )
        return Detections(found.boxes_xyxy, found.scores, found.class_ids, masks=masks)

    def overlaps(self, found: Detections, truth: Truth) -> NDArray[np.float64]:
        return _iou(found, truth_runs(truth), crowd=False)

    def shares_ignored(self, found: Detections, truth: Truth) -> NDArray[np.float64]:
        return _iou(found, ignored_runs(truth), crowd=True)

    def counted(self, truth: Truth) -> NDArray[np.bool_]:
        return np.ones(len(truth.class_ids), dtype=np.bool_)

    def truth_rows(self, truth: Truth) -> list[Mapping[str, Any]]:
        return [{"segmentation": mask.coco} for mask in truth_runs(truth)]

    def ignored_rows(self, truth: Truth) -> list[Mapping[str, Any]]:
        return [{"segmentation": mask.coco} for mask in ignored_runs(truth)]

    def found_rows(self, found: Detections) -> list[Mapping[str, Any]]:
        assert found.masks is not None
        return [{"segmentation": mask.coco} for mask in found.masks]


def object_mask(
    coefficients: NDArray[np.float32],
    prototypes: NDArray[np.float32],
    box_xyxy: NDArray[np.float32],
    placed: Letterbox,
    image_hw: tuple[int, int],
) -> Mask:
    """Return the mask of an object in source pixels.

    A pixel belongs to the object if its centre is inside the box and the logit at its centre is above 0. The
    logit of a prototype cell is the sum of the prototypes, each multiplied by its coefficient. Between the
    centres of cells, the logit is interpolated bilinearly. Beyond the centres of the outermost cells, it is
    constant.

    Args:
        coefficients: (K,).
        prototypes: (K, h, w).
        box_xyxy: (4,) in source pixels.
    """
    left, top, right, bottom = box_xyxy.tolist()
    columns, x_shares = _cells_of_pixels(
        left, right, image_hw[1], placed.left, placed.scale, prototypes.shape[2]
    )
    rows, y_shares = _cells_of_pixels(top, bottom, image_hw[0], placed.top, placed.scale, prototypes.shape[1])
    logits = np.tensordot(coefficients, prototypes[:, rows, columns], axes=1)
    first_x, first_y = (max(0, int(np.ceil(start - 0.5))) for start in (left, top))
    return Mask(first_x, first_y, y_shares @ logits @ x_shares.T > 0)


def _cells_of_pixels(
    start: float, end: float, side: int, offset: int, scale: float, cells: int
) -> tuple[slice, NDArray[np.float32]]:
    """Return the prototype cells that the pixels with centres in start..end need, along one direction.

    Returns:
        The range of cells, and the weight of each cell in the interpolated value of each pixel, as an array
        (pixels, cells of the range).
    """
    first, last = np.ceil(np.clip([start, end], 0, side) - 0.5)
    centers = np.arange(first, last) + 0.5  # in source pixels
    at = ((centers * scale + offset) / MASK_STRIDE - 0.5).clip(0, cells - 1)
    if not len(at):
        return slice(0, 0), np.zeros((0, 0), dtype=np.float32)
    needed = slice(int(at[0]), min(cells, int(at[-1]) + 2))
    distances = np.abs(at[:, None] - np.arange(needed.start, needed.stop))
    return needed, (1 - distances).clip(0).astype(np.float32)


def truth_runs(truth: Truth) -> list[RunLengths]:
    """Return the masks of an image's objects."""
    assert truth.masks is not None
    return [RunLengths.of(mask, truth.image_hw) for mask in truth.masks]


def ignored_runs(truth: Truth) -> list[RunLengths]:
    """Return the masks of an image's ignored regions; a region with only a box gets the box's pixels."""
    if truth.ignored_masks is not None:
        return [RunLengths.of(mask, truth.image_hw) for mask in truth.ignored_masks]
    return [RunLengths.of(_filled(box), truth.image_hw) for box in truth.ignored_xyxy]


def _filled(box_xyxy: NDArray[np.float32]) -> Mask:
    """Return the pixels whose centres are inside a box, (4,)."""
    left, top, right, bottom = np.ceil(box_xyxy - 0.5).astype(np.int64).tolist()
    return Mask(left, top, np.ones((max(0, bottom - top), max(0, right - left)), dtype=np.bool_))


def _iou(found: Detections, masks: list[RunLengths], *, crowd: bool) -> NDArray[np.float64]:
    """Return the IoUs (N, M); with `crowd`, return the share of each detection that is inside each mask."""
    assert found.masks is not None
    if not found.masks or not masks:
        return np.zeros((len(found.masks), len(masks)))
    overlaps = coco_mask.iou(
        [mask.coco for mask in found.masks], [mask.coco for mask in masks], [int(crowd)] * len(masks)
    )
    return np.asarray(overlaps, dtype=np.float64)


MASKS = _Masks()
