"""The distribution focal loss of box sides, and the distances that are its targets."""

import torch
from torch import Tensor
from torch.nn import functional

# F foreground anchors · R bins of a side's distribution


def side_distances(points: Tensor, strides: Tensor, boxes_xyxy: Tensor, reg_max: int) -> Tensor:
    """Return the distances (F, 4) from points (F, 2) to their boxes' left, top, right and bottom sides.

    The unit is the stride of each point.

    Distances are clipped to just below reg_max - 1, which is the last bin. So every distance is between two
    bins.
    """
    left_top = (points - boxes_xyxy[:, :2]) / strides
    right_bottom = (boxes_xyxy[:, 2:] - points) / strides
    return torch.cat([left_top, right_bottom], dim=-1).clamp(0, reg_max - 1 - 0.01)


def distribution_focal_loss(box_logits: Tensor, distances: Tensor) -> Tensor:
    """Return the distribution focal loss of each anchor, (F,), which is the mean over the box's four sides.

    The loss of a side is the weighted mean of two cross entropies: with the bin just below and with the bin
    just above the side's distance. The nearer bin weighs more.

    Args:
        box_logits: logits of the R bins for each side, (F, 4, R).
        distances: wanted distances of the sides, (F, 4), in 0..R - 1.

    Source: Li et al. 2020, arXiv:2006.04388, eq. 6.
    """
    below = distances.floor().long()
    share_above = distances - below
    logits = box_logits.float().flatten(0, 1)  # (4F, R)
    loss_below = functional.cross_entropy(logits, below.flatten(), reduction="none").view_as(distances)
    loss_above = functional.cross_entropy(logits, below.flatten() + 1, reduction="none").view_as(distances)
    return (loss_below * (1 - share_above) + loss_above * share_above).mean(dim=-1)
