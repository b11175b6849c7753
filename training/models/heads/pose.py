"""The keypoint head, which predicts the keypoints of an object for every cell of every level."""

import torch
from torch import Tensor

from training.models.heads.detect import AnchorBranches

# B batch · N anchors · P keypoints


def keypoint_branches(points: int, channels: tuple[int, int, int]) -> AnchorBranches:
    """Return the branches that predict x, y and the visibility logit of each keypoint, (B, A, 3P)."""
    return AnchorBranches(channels, max(channels[0] // 4, 3 * points), 3 * points)


def decode_keypoints(raw: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """Return keypoints (B, N, P, 3): x and y in pixels of the model input, and the visibility logit.

    A raw coordinate is half the distance of the keypoint from the top-left corner of the cell, in strides.

    Args:
        raw: (B, N, 3P).
        points: cell centres in pixels, (A, 2) for all images or (B, N, 2) for each image.
        strides: strides in pixels, (A, 1) for all images or (B, N, 1) for each image.

    Source: the decoding of published YOLO pose networks, so that their weights keep their meaning.
    """
    grouped = raw.float().unflatten(2, (-1, 3))
    corner = (points - strides / 2).unsqueeze(-2)  # of the cell
    return torch.cat([grouped[..., :2] * 2 * strides.unsqueeze(-2) + corner, grouped[..., 2:]], dim=-1)
