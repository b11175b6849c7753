"""Suppress non-maxima: of overlapping boxes, keep only the box with the highest score."""

import numpy as np
from numpy.typing import NDArray

from service.types import Candidates


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
        conf: lowest score of a box to keep, inclusive: one number, or (N,) a number for each box.
        iou: a box is dropped if its IoU with a higher-scored box of its class is greater than this.
        max_det: maximum number of rows to return.
        agnostic: whether a box is also dropped for its IoU with a higher-scored box of another class.
    """
    order = np.flatnonzero(candidates.scores >= np.asarray(conf, dtype=np.float32))
    order = order[np.argsort(-candidates.scores[order], kind="stable")]
    boxes, class_ids = candidates.boxes_xyxy[order], candidates.class_ids[order]
    if agnostic:
        class_ids = np.zeros_like(class_ids)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    alive = np.ones(len(order), dtype=bool)
    kept: list[int] = []
    for i in range(len(order)):
        if not alive[i]:
            continue
        kept.append(i)
        if len(kept) == max_det:
            break
        top_left = np.maximum(boxes[i, :2], boxes[i + 1 :, :2])
        bottom_right = np.minimum(boxes[i, 2:], boxes[i + 1 :, 2:])
        overlap = np.clip(bottom_right - top_left, 0, None).prod(axis=1)
        union = areas[i] + areas[i + 1 :] - overlap
        # Compare products instead of dividing, so that boxes without area need no special case.
        alive[i + 1 :] &= (class_ids[i + 1 :] != class_ids[i]) | ~(overlap > np.float32(iou) * union)
    return order[kept].astype(np.int64)
