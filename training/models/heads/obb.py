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

    An object whose angle is near one end of this range can jump to the other end. Most objects in photos
    taken from the ground have the angle 0, which is far from both ends. Source: the decoding of published
    YOLO networks for oriented boxes.
    """
    return (raw[..., 0].float().sigmoid() - 0.25) * math.pi


def turn_boxes(boxes_xyxy: Tensor, points: Tensor, angles: Tensor) -> Tensor:
    """Move the centres of decoded boxes to where they belong if the boxes are rotated.

    `boxes_xyxy` were decoded as if the distances from the anchor to the sides were horizontal and vertical.
    In truth these distances are along the axes of the rotated box. So the centre of each box is rotated
    around its anchor by the box's angle. Return boxes before rotation, (B, N, 4) xyxy.

    Args:
        boxes_xyxy: (B, N, 4), in pixels of the model input.
        points: cell centres, (A, 2) for all images or (B, N, 2) for each image.
        angles: (B, N), radians.
    """
    along, across = axes(angles)
    half = (boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]) / 2
    offset = (boxes_xyxy[..., 2:] + boxes_xyxy[..., :2]) / 2 - points
    center = points + along * offset[..., :1] + across * offset[..., 1:]
    return torch.cat([center - half, center + half], dim=-1)
