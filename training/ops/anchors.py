"""Positions of the anchors in the model input, and decoding of side distances to boxes."""

from collections.abc import Sequence

import torch
from torch import Tensor

# A anchors of all levels · B batch · R bins of a side's distribution


def anchor_points(input_hw: tuple[int, int], strides: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return the cell centres of every level, finest level first, and row by row within a level.

    Returns:
        Centres (A, 2) as x, y in pixels of the model input, and the stride of each centre in pixels, (A, 1).
    """
    height, width = input_hw
    points, sizes = [], []
    for stride in strides:
        ys = torch.arange(height // stride, dtype=torch.float32) + 0.5
        xs = torch.arange(width // stride, dtype=torch.float32) + 0.5
        grid_y, grid_x = torch.meshgrid(ys, xs, indexing="ij")
        level = torch.stack([grid_x.flatten(), grid_y.flatten()], dim=-1) * stride
        points.append(level)
        sizes.append(torch.full((len(level), 1), float(stride)))
    return torch.cat(points), torch.cat(sizes)


def decode_boxes(box_logits: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """Return boxes (B, A, 4) xyxy in pixels of the model input.

    A cell's distance to a side of its box is the expected value of the predicted distribution.

    Args:
        box_logits: logits (B, A, 4, R) of the distances 0..R-1, in strides, to left, top, right and bottom.
        points: cell centres in pixels of the model input, (A, 2) for all images or (B, A, 2) for each image.
        strides: strides in pixels, (A, 1) for all images or (B, A, 1) for each image.

    Source: Li et al. 2020, arXiv:2006.04388, eq. 4 and 5.
    """
    bins = torch.arange(box_logits.shape[-1], dtype=torch.float32, device=box_logits.device)
    distances = (box_logits.float().softmax(dim=-1) * bins).sum(dim=-1) * strides  # (B, A, 4)
    left_top, right_bottom = distances.split(2, dim=-1)
    return torch.cat([points - left_top, points + right_bottom], dim=-1)
