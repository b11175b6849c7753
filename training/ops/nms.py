"""From every anchor's scores to the boxes that stay."""

import numpy as np
import torch
from torch import Tensor

from training.ops.boxes import iou

# A anchors · C classes · N candidates


def select_candidates(boxes_xyxy: Tensor, class_scores: Tensor, limit: int) -> tuple[Tensor, Tensor, Tensor]:
    """Select the best (anchor, class) pairs of each image.

    Args:
        boxes_xyxy: (B, A, 4); or more columns, which come along, for whatever else is told of an anchor.
        class_scores: (B, A, C), 0..1.
        limit: N, at most this many pairs an image.

    Returns:
        boxes (B, N, 4 or more), scores (B, N) falling, class ids (B, N) int64; N = min(limit, A * C).
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
    """Suppress, greedily, lower-scored boxes that overlap a kept box of their own class.

    Args:
        boxes_xyxy: (N, 4).
        scores: (N,).
        class_ids: (N,).
        iou_threshold: a box goes when its IoU with a kept one is greater than this.
        max_det: at most this many stay.

    Returns:
        Indices of the boxes that stay, highest score first; ties keep their order.
    """
    order = torch.argsort(scores, descending=True, stable=True)
    boxes, classes = boxes_xyxy[order], class_ids[order]
    clashes = (iou(boxes[:, None], boxes[None]) > iou_threshold) & (classes[:, None] == classes[None])
    clash_rows = clashes.numpy(force=True)
    suppressed = np.zeros(len(order), dtype=bool)
    kept: list[int] = []
    for index in range(len(order)):
        if len(kept) == max_det:
            break
        if suppressed[index]:
            continue
        kept.append(index)
        suppressed |= clash_rows[index]
    return order[torch.tensor(kept, dtype=torch.int64)]
