"""The angle head, and the decoding of side distances to oriented boxes."""

import math

import torch
from torch import Tensor

from training.models.heads.detect import AnchorBranches
from training.ops.rotated import axes

# B batch · N anchors


def angle_branches(channels: tuple[int, int, int]) -> AnchorBranches:
    """Return the branches that predict one number for the angle of each anchor's box, (B, A, 1)."""
    return AnchorBranches(channels, max(channels[0] // 4, 1), 1)


def decode_angles(raw: Tensor) -> Tensor:
    """Return angles (B, N) in -π/4..3π/4 from raw numbers (B, N, 1).

    0, the angle of most objects in photos from the ground, is far from both ends, where an object would jump
    from one to the other. Source: the decoding of published YOLO networks for oriented boxes.
    """
    return (raw[..., 0].float().sigmoid() - 0.25) * math.pi


def turn_boxes(boxes_xyxy: Tensor, points: Tensor, angles: Tensor) -> Tensor:
    """Return the unrotated boxes (B, N, 4) xyxy of boxes whose side distances are in the rotated frame.

    The sides that `boxes_xyxy` states were decoded as if the box were upright. In truth they are distances
    from the anchor along the box's own axes: so the box's centre moves around the anchor by the angle.

    Args:
        boxes_xyxy: (B, N, 4), in pixels of the model input.
        points: cell centres, (A, 2), or per image, (B, N, 2).
        angles: (B, N), radians.
    """
    along, across = axes(angles)
    half = (boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]) / 2
    offset = (boxes_xyxy[..., 2:] + boxes_xyxy[..., :2]) / 2 - points
    center = points + along * offset[..., :1] + across * offset[..., 1:]
    return torch.cat([center - half, center + half], dim=-1)
