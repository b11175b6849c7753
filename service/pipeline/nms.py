"""Suppress non-maxima: of overlapping boxes, keep only the box with the highest score."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from service.types import Candidates

Overlapping = Callable[[int, NDArray[np.int64]], NDArray[np.bool_]]


def suppress(
    candidates: Candidates,
    conf: float | NDArray[np.float32],
    iou: float,
    max_det: int,
    *,
    agnostic: bool = False,
) -> NDArray[np.int64]:
    """Return the row numbers of the boxes to keep, highest score first; rows of equal score keep their order.

    Args:
        candidates: N boxes in pixels of the model input.
        conf: lowest score at which a box is kept: one number for all boxes, or (N,) a number for each box.
        iou: a box is dropped if its IoU with a higher-scored box of its class is greater than this.
        max_det: maximum number of rows to return.
        agnostic: whether a box is also dropped for its IoU with a higher-scored box of another class.
    """
    boxes_xyxy = candidates.boxes_xyxy

    def overlapping(best: int, rivals: NDArray[np.int64]) -> NDArray[np.bool_]:
        one, others = boxes_xyxy[best], boxes_xyxy[rivals]
        top_left, bottom_right = np.maximum(one[:2], others[:, :2]), np.minimum(one[2:], others[:, 2:])
        overlap = np.clip(bottom_right - top_left, 0, None).prod(axis=1)
        area = (one[2] - one[0]) * (one[3] - one[1])
        areas = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])
        # Compare products instead of dividing, so that boxes without area need no special case.
        return np.asarray(overlap > np.float32(iou) * (area + areas - overlap))

    return keep_best(candidates, conf, max_det, overlapping, agnostic=agnostic)


def keep_best(
    candidates: Candidates,
    conf: float | NDArray[np.float32],
    max_det: int,
    overlapping: Overlapping,
    *,
    agnostic: bool,
) -> NDArray[np.int64]:
    """Return the row numbers to keep, as `suppress` does, for boxes of any kind.

    Args:
        candidates, conf, max_det, agnostic: the same as for `suppress`.
        overlapping: function that takes the row number of a kept box and the row numbers of N boxes with
            lower scores. It returns an array (N,): True for each box that must be dropped because it
            overlaps the kept box.
    """
    order = np.flatnonzero(candidates.scores >= np.asarray(conf, dtype=np.float32))
    order = order[np.argsort(-candidates.scores[order], kind="stable")]
    class_ids = np.zeros(len(order), np.int64) if agnostic else candidates.class_ids[order]
    alive = np.ones(len(order), dtype=bool)
    kept: list[int] = []
    for i in range(len(order)):
        if not alive[i]:
            continue
        kept.append(i)
        if len(kept) == max_det:
            break
        rivals = i + 1 + np.flatnonzero(alive[i + 1 :] & (class_ids[i + 1 :] == class_ids[i]))
        if len(rivals):
            alive[rivals[overlapping(order[i], order[rivals])]] = False
    return order[kept].astype(np.int64)
