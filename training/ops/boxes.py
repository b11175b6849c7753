"""Areas and overlaps of boxes. All boxes are (..., 4) xyxy in pixels."""

import math

import torch
from torch import Tensor

EPS = 1e-7


def area(boxes_xyxy: Tensor) -> Tensor:
    """Return the area of each box, (...,) in square pixels; 0 for a box with a negative side."""
    return (boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]).clamp(min=0).prod(dim=-1)


def intersection(a_xyxy: Tensor, b_xyxy: Tensor) -> Tensor:
    """Return the intersection area of boxes paired by broadcasting, (...,) in square pixels."""
    top_left = torch.maximum(a_xyxy[..., :2], b_xyxy[..., :2])
    bottom_right = torch.minimum(a_xyxy[..., 2:], b_xyxy[..., 2:])
    return (bottom_right - top_left).clamp(min=0).prod(dim=-1)


def iou(a_xyxy: Tensor, b_xyxy: Tensor) -> Tensor:
    """Return the intersection over union (IoU) of boxes paired by broadcasting, (...,) 0..1."""
    shared = intersection(a_xyxy, b_xyxy)
    return shared / (area(a_xyxy) + area(b_xyxy) - shared + EPS)


def complete_iou(a_xyxy: Tensor, b_xyxy: Tensor) -> Tensor:
    """Return the complete IoU of boxes paired by broadcasting, (...,).

    The result is 1 for equal boxes, and can be below -1. It is the IoU minus penalties for the distance of
    the centres and for different aspect ratios.

    Source: Zheng et al. 2019, arXiv:1911.08287, eq. 8 to 11.
    """
    top_left = torch.minimum(a_xyxy[..., :2], b_xyxy[..., :2])
    bottom_right = torch.maximum(a_xyxy[..., 2:], b_xyxy[..., 2:])
    diagonal2 = (bottom_right - top_left).square().sum(dim=-1) + EPS
    between_centers = (a_xyxy[..., :2] + a_xyxy[..., 2:] - b_xyxy[..., :2] - b_xyxy[..., 2:]) / 2
    distance2 = between_centers.square().sum(dim=-1)

    a_wh = a_xyxy[..., 2:] - a_xyxy[..., :2]
    b_wh = b_xyxy[..., 2:] - b_xyxy[..., :2]
    a_angle = torch.atan(a_wh[..., 0] / (a_wh[..., 1] + EPS))
    b_angle = torch.atan(b_wh[..., 0] / (b_wh[..., 1] + EPS))
    aspect = (4 / math.pi**2) * (b_angle - a_angle).square()

    overlap = iou(a_xyxy, b_xyxy)
    with torch.no_grad():  # the trade-off parameter is a constant weight for the gradient (eq. 11)
        trade_off = aspect / (1 - overlap + aspect + EPS)
    return overlap - distance2 / diagonal2 - trade_off * aspect
