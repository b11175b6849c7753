"""Non-maximum suppression: of boxes that say the same, the best one stays."""

import numpy as np
from numpy.typing import NDArray

from service.types import Candidates


def suppress(candidates: Candidates, conf: float, iou: float, max_det: int) -> NDArray[np.int64]:
    """Return the rows to keep, highest score first, equal scores by lowest row.

    Args:
        candidates: N boxes on the canvas.
        conf: lowest score that counts, itself included.
        iou: a box overlapping a better one of its class by more than this is dropped.
        max_det: most rows to return.
    """
    order = np.flatnonzero(candidates.scores >= np.float32(conf))
    order = order[np.argsort(-candidates.scores[order], kind="stable")]
    boxes, class_ids = candidates.boxes_xyxy[order], candidates.class_ids[order]
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
        alive[i + 1 :] &= (class_ids[i + 1 :] != class_ids[i]) | ~(overlap > np.float32(iou) * union)
    return order[kept].astype(np.int64)
