"""Select the detections of one image among its candidates, with NumPy as the only dependency."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.integer[Any]]

# A anchors · C classes · N candidates


def select_candidates(boxes_xyxy: Floats, class_scores: Floats, limit: int) -> tuple[Floats, Floats, Ints]:
    """Return the best (anchor, class) pairs of one image, best first; equal scores in the order of pairs.

    Args:
        boxes_xyxy: (A, 4) boxes of all anchors.
        class_scores: (A, C) scores of all anchors and classes.
        limit: maximum number of pairs, N.

    Returns:
        Boxes (N, 4), scores (N,) and class ids (N,).
    """
    flat = class_scores.reshape(-1)
    if len(flat) > limit:  # keep all pairs that tie with the last score, to sort them stably
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
    """Return the row numbers of the boxes to keep, highest score first; equal scores in the order of rows.

    Args:
        boxes_xyxy: (N, 4) boxes in pixels of the model input.
        scores: (N,) scores of the boxes.
        class_ids: (N,) classes of the boxes.
        conf: lowest score of a box to keep, inclusive.
        iou: a box is dropped if its IoU with a higher-scored box of its class is greater than this.
        max_det: maximum number of rows to return.
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
        # Compare products instead of dividing, so that boxes without area need no special case.
        alive[i + 1 :] &= (classes[i + 1 :] != classes[i]) | ~(overlap > np.float32(iou) * union)
    return order[kept].astype(np.int64)
