"""Select candidates, suppress overlapping ones; import only NumPy, because Triton's own Python runs this."""

from typing import Any

import numpy as np
import rotated
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.integer[Any]]

# A anchors · C classes · N candidates


def select_candidates(class_scores: Floats, limit: int) -> tuple[Ints, Floats, Ints]:
    """Return the (anchor, class) pairs with the highest scores, best first; equal scores keep their order.

    Args:
        class_scores: (A, C) scores of all anchors and classes.
        limit: N, the maximum number of pairs to return.

    Returns:
        anchors (N,), scores (N,), class ids (N,).
    """
    flat = class_scores.reshape(-1)
    if len(flat) > limit:  # everything at or above the N-th score, so that ties stay in order
        worst = np.partition(flat, -limit)[-limit]
        pairs = np.flatnonzero(flat >= worst)
    else:
        pairs = np.arange(len(flat))
    pairs = pairs[np.argsort(-flat[pairs], kind="stable")][:limit]
    anchors, class_ids = np.divmod(pairs, class_scores.shape[1])
    return anchors, flat[pairs], class_ids


def suppress(
    boxes_xyxy: Floats,
    scores: Floats,
    class_ids: Ints,
    conf: float,
    iou: float,
    max_det: int,
    *,
    angles: Floats | None = None,
) -> NDArray[np.int64]:
    """Return the row numbers to keep, highest score first; rows with equal scores keep their order.

    Args:
        boxes_xyxy: (N, 4) in pixels of the model input.
        scores: (N,).
        class_ids: (N,).
        conf: boxes with a lower score are dropped.
        iou: a box is dropped if its IoU with a higher-scored box of its class is greater than this.
        max_det: maximum number of rows to return.
        angles: (N,) radians, clockwise; None if the boxes are not rotated.
    """
    order = np.flatnonzero(scores >= np.float32(conf))
    order = order[np.argsort(-scores[order], kind="stable")]
    boxes, classes = boxes_xyxy[order], class_ids[order]
    turns = None if angles is None else angles[order]
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    alive = np.ones(len(order), dtype=bool)
    kept: list[int] = []
    for i in range(len(order)):
        if not alive[i]:
            continue
        kept.append(i)
        if len(kept) == max_det:
            break
        rivals = i + 1 + np.flatnonzero(alive[i + 1 :] & (classes[i + 1 :] == classes[i]))
        both = np.append(i, rivals)
        shared = _shared(boxes[both]) if turns is None else rotated.shared_areas(boxes[both], turns[both])
        union = areas[i] + areas[rivals] - shared
        # Multiplied out, so that boxes without an area need no special case.
        alive[rivals] = ~(shared > np.float32(iou) * union)
    return order[kept].astype(np.int64)


def _shared(boxes_xyxy: Floats) -> Floats:
    """Return the areas (N - 1,) that the first box shares with each other box."""
    top_left = np.maximum(boxes_xyxy[0, :2], boxes_xyxy[1:, :2])
    bottom_right = np.minimum(boxes_xyxy[0, 2:], boxes_xyxy[1:, 2:])
    areas: Floats = np.clip(bottom_right - top_left, 0, None).prod(axis=1)
    return areas
