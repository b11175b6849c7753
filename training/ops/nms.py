"""Selects candidates from all anchors, and suppresses overlapping boxes."""

import numpy as np
import torch
from torch import Tensor

from training.ops.boxes import iou

# A anchors · C classes · N candidates


def select_candidates(boxes_xyxy: Tensor, class_scores: Tensor, limit: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the (anchor, class) pairs with the highest scores of each image.

    Args:
        boxes_xyxy: (B, A, 4 or more); further columns after the first four are returned with the boxes.
        class_scores: (B, A, C).

    Returns:
        Boxes (B, N, 4 or more), scores (B, N) in descending order and class ids (B, N) int64, where
        N = min(limit, A * C).
    """
    num_classes = class_scores.shape[-1]
    flat = class_scores.flatten(1)  # (B, A * C)
    scores, pair_ids = flat.topk(min(limit, flat.shape[1]), dim=-1)
    anchor_ids = torch.div(pair_ids, num_classes, rounding_mode="floor")
    class_ids = pair_ids - anchor_ids * num_classes
    boxes = boxes_xyxy.gather(1, anchor_ids[..., None].expand(-1, -1, boxes_xyxy.shape[-1]))
    return boxes, scores, class_ids


def class_aware_nms(
    boxes_xyxy: Tensor, scores: Tensor, class_ids: Tensor, iou_threshold: float, max_det: int
) -> Tensor:
    """Return the indices of the boxes to keep, at most max_det, highest score first.

    A box is dropped if its IoU with a kept box of the same class is greater than the threshold. Boxes with
    equal scores keep their order. Shapes: boxes (N, 4), scores (N,), class ids (N,).
    """
    order = torch.argsort(scores, descending=True, stable=True)
    boxes, classes = boxes_xyxy[order], class_ids[order]
    clashes = (iou(boxes[:, None], boxes[None]) > iou_threshold) & (classes[:, None] == classes[None])
    return order[keep_without_clashes(clashes, max_det)]


def keep_without_clashes(clashes: Tensor, max_det: int) -> Tensor:
    """Return the indices of the candidates to keep, at most max_det.

    The candidates must be ordered from best to worst. `clashes` (N, N) bool states which pairs of candidates
    overlap too much. A candidate is dropped if it clashes with a better candidate that is kept.
    """
    clash_rows = clashes.numpy(force=True)
    suppressed = np.zeros(len(clash_rows), dtype=bool)
    kept: list[int] = []
    for index in range(len(clash_rows)):
        if len(kept) == max_det:
            break
        if not suppressed[index]:
            kept.append(index)
            suppressed |= clash_rows[index]
    return torch.tensor(kept, dtype=torch.int64)
