"""Select candidates and suppress overlapping ones, with NumPy alone: this runs in Triton's own Python."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.integer[Any]]

# A anchors · C classes · N candidates


def select_candidates(boxes_xyxy: Floats, class_scores: Floats, limit: int) -> tuple[Floats, Floats, Ints]:
    """Return the (anchor, class) pairs of highest score, best first; of equal scores, the first pair first.

    Args:
        boxes_xyxy: (A, 4).
        class_scores: (A, C).
        limit: N, the most pairs to return.

    Returns:
        boxes (N, 4), scores (N,), class ids (N,).
    """
    flat = class_scores.reshape(-1)
    if len(flat) > limit:  # everything at or above the N-th score, so that ties stay in order
        worst = np.partition(flat, -limit)[-limit]
        pairs = np.flatnonzero(flat >= worst)
    else:
        pairs = np.arange(len(flat))
    pairs = pairs[np.argsort(-flat[pairs], kind="stable")][:limit]
    anchors, class_ids = np.divmod(pairs, class_scores.shape[1])
    return boxes_xyxy[anchors], flat[pairs], class_ids


def suppress(
    boxes_xyxy: Floats, scores: Floats, class_ids: Ints, conf: float, iou: float, max_det: int
) -> NDArray[np.int64]:
    """Return the rows to keep, highest score first; of equal scores, the lowest row first.

    Args:
        boxes_xyxy: (N, 4) in pixels of the network input.
        scores: (N,).
        class_ids: (N,).
        conf: boxes with a lower score are dropped.
        iou: a box is dropped if its IoU with a box of its class and of higher score is larger.
        max_det: most rows to return.
    """
    order = np.flatnonzero(scores >= np.float32(conf))
    order = order[np.argsort(-scores[order], kind="stable")]
    boxes, classes = boxes_xyxy[order], class_ids[order]
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
        # Multiplied out, so that boxes without an area need no special case.
        alive[i + 1 :] &= (classes[i + 1 :] != classes[i]) | ~(overlap > np.float32(iou) * union)
    return order[kept].astype(np.int64)
