"""Oriented boxes: corners, overlaps, and suppression of overlapping boxes.

An oriented box is (..., 5): centre x and y, width and height in pixels, and the angle of its width axis in
radians, clockwise on the image, whose y axis points down. The box is the same at angle + π.
"""

import math

import torch
from torch import Tensor

from training.ops.nms import keep_without_clashes

# M, N boxes · A points

EPS = 1e-7
MIN_SIDE = 1e-3  # pixels; a thinner box has no Gaussian that can be compared with others


def to_oriented(boxes_xyxy: Tensor, angles: Tensor) -> Tensor:
    """Return oriented boxes (..., 5) from boxes before rotation (..., 4) and their angles (...)."""
    center = (boxes_xyxy[..., :2] + boxes_xyxy[..., 2:]) / 2
    return torch.cat([center, boxes_xyxy[..., 2:] - boxes_xyxy[..., :2], angles[..., None]], dim=-1)


def unrotated(boxes: Tensor) -> Tensor:
    """Return the boxes before rotation, (..., 4) xyxy, of oriented boxes (..., 5)."""
    return torch.cat([boxes[..., :2] - boxes[..., 2:4] / 2, boxes[..., :2] + boxes[..., 2:4] / 2], dim=-1)


def axes(angles: Tensor) -> tuple[Tensor, Tensor]:
    """Return the unit vectors along width and height, (..., 2) each, of boxes with these angles (...)."""
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([cos, sin], dim=-1), torch.stack([-sin, cos], dim=-1)


def corners_of(boxes: Tensor) -> Tensor:
    """Return the corners (..., 4, 2) of oriented boxes (..., 5).

    Before the rotation, the order of the corners is top-left, top-right, bottom-right, bottom-left.
    """
    along, across = axes(boxes[..., 4])
    half_width, half_height = along * boxes[..., 2:3] / 2, across * boxes[..., 3:4] / 2
    center = boxes[..., :2]
    return torch.stack(
        [
            center - half_width - half_height,
            center + half_width - half_height,
            center + half_width + half_height,
            center - half_width + half_height,
        ],
        dim=-2,
    )


def oriented_boxes(corners: Tensor) -> Tensor:
    """Return the oriented boxes (..., 5) that have the corners (..., 4, 2), which must be in order.

    Angles are in 0..π, π excluded. The width axis leads from the first corner to the second. Corners that
    form no rectangle give a box with the quadrilateral's mean sides and mean direction.
    """
    first, second, third, fourth = corners.unbind(dim=-2)
    width_vector = (second - first + third - fourth) / 2
    height_vector = (fourth - first + third - second) / 2
    # Turned back by a quarter turn, the height vector is a second estimate of the width axis's direction. In
    # a mirrored order of the corners, it has to be turned the other way.
    turned = torch.stack([height_vector[..., 1], -height_vector[..., 0]], dim=-1)
    mirrored = (width_vector * turned).sum(dim=-1, keepdim=True) < 0
    direction = width_vector + torch.where(mirrored, -turned, turned)
    angles = upright_angles(torch.atan2(direction[..., 1], direction[..., 0]))
    sides = [vector.norm(dim=-1) for vector in (width_vector, height_vector)]
    return torch.cat([corners.mean(dim=-2), torch.stack([*sides, angles], dim=-1)], dim=-1)


def upright_angles(angles: Tensor) -> Tensor:
    """Return angles in 0..π, π excluded, of the same axes; an axis is the same after half a turn."""
    remainder = torch.remainder(angles, math.pi)
    return torch.where(remainder >= math.pi, torch.zeros_like(remainder), remainder)  # after rounding


def in_frame(points: Tensor, boxes: Tensor) -> Tensor:
    """Return the coordinates of points (..., 2) in the frames of boxes (..., 5), paired by broadcasting.

    A frame has its origin in the box's centre, and its x axis along the box's width.
    """
    along, across = axes(boxes[..., 4])
    offset = points - boxes[..., :2]
    return torch.stack([(offset * along).sum(dim=-1), (offset * across).sum(dim=-1)], dim=-1)


def points_inside(boxes: Tensor, points: Tensor) -> Tensor:
    """Return whether each point is inside each oriented box or on its edge, (M, A) bool.

    Shapes: boxes (M, 5), points (A, 2).
    """
    return (in_frame(points[None], boxes[:, None]).abs() <= boxes[:, None, 2:4] / 2).all(dim=-1)


def prob_iou(a: Tensor, b: Tensor) -> Tensor:
    """Return the ProbIoU of oriented boxes paired by broadcasting, (...,) 0..1: nearly 1 for equal boxes.

    ProbIoU is 1 minus the Hellinger distance of two Gaussians with the boxes' centres and covariances. The
    determinant and the inverse of the mean covariance are written as sums of positive terms in the boxes' own
    frames, so that thin boxes lose no precision.

    Source: Llerena et al. 2021, arXiv:2106.06072.
    """
    a, b = a.float(), b.float()
    a_wide, a_high = (a[..., 2:4].clamp(min=MIN_SIDE).square() / 12).unbind(dim=-1)  # variances
    b_wide, b_high = (b[..., 2:4].clamp(min=MIN_SIDE).square() / 12).unbind(dim=-1)
    between = a[..., 4] - b[..., 4]
    crossed = (a_wide * b_wide + a_high * b_high) * between.sin().square()
    crossed = crossed + (a_wide * b_high + a_high * b_wide) * between.cos().square()
    a_det, b_det = a_wide * a_high, b_wide * b_high
    det = (a_det + b_det + crossed) / 4  # of the mean covariance

    a_x, a_y = in_frame(b[..., :2], a).square().unbind(dim=-1)
    b_x, b_y = in_frame(a[..., :2], b).square().unbind(dim=-1)
    offset = (a_high * a_x + a_wide * a_y + b_high * b_x + b_wide * b_y) / (2 * det)
    distance = offset / 8 + (det / (a_det * b_det).sqrt()).log() / 2  # Bhattacharyya
    # A square root has no finite gradient at 0.
    return 1 - (-torch.expm1(-distance.clamp(min=EPS))).sqrt()


def rotated_intersection(a: Tensor, b: Tensor) -> Tensor:
    """Return the exact intersection area of oriented boxes paired by broadcasting, (...,) in square pixels.

    The computation is in b's frame. The outline of a is cut where it crosses the lines through b's sides.
    Then every point of the outline is moved to the nearest point of b. This does not change how often the
    outline winds around a point inside b, so the moved outline encloses exactly the intersection. The area is
    half the sum of the cross products of the outline's segments. The corners of the intersection need not be
    put in order, and a rounding error changes the area only a little.
    """
    a, b = torch.broadcast_tensors(a, b)
    start = in_frame(corners_of(a), b[..., None, :])  # (..., 4, 2)
    step = start.roll(-1, dims=-2) - start
    half = b[..., None, 2:4].clamp(min=0) / 2  # (..., 1, 2)
    safe = torch.where(step == 0, torch.ones_like(step), step)
    crossings = torch.cat([(-half - start) / safe, (half - start) / safe], dim=-1).clamp(0, 1)  # (..., 4, 4)
    ends = torch.zeros_like(crossings[..., :1])
    share = torch.cat([ends, crossings.sort(dim=-1).values, ends + 1], dim=-1)  # (..., 4, 6)
    outline = start[..., None, :] + share[..., None] * step[..., None, :]
    half = half[..., None, :]
    outline = torch.minimum(torch.maximum(outline, -half), half)
    here, there = outline[..., :-1, :], outline[..., 1:, :]
    crosses = here[..., 0] * there[..., 1] - here[..., 1] * there[..., 0]
    return crosses.sum(dim=(-2, -1)).abs() / 2


def rotated_iou(a: Tensor, b: Tensor) -> Tensor:
    """Return the exact intersection over union of oriented boxes paired by broadcasting, (...,) 0..1."""
    shared = rotated_intersection(a, b)
    a_area, b_area = (each[..., 2:4].clamp(min=0).prod(dim=-1) for each in (a, b))
    return shared / (a_area + b_area - shared + EPS)


def rotated_nms(
    boxes: Tensor, scores: Tensor, class_ids: Tensor, iou_threshold: float, max_det: int
) -> Tensor:
    """Return the indices of the oriented boxes to keep, at most max_det, highest score first.

    A box is dropped if its exact IoU with a kept box of the same class is greater than the threshold. Boxes
    with equal scores keep their order. Shapes: boxes (N, 5), scores (N,), class ids (N,).
    """
    order = torch.argsort(scores, descending=True, stable=True)
    boxes, classes = boxes[order], class_ids[order]
    # Only the few pairs whose circumscribed circles overlap need the intersection.
    radius = boxes[:, 2:4].norm(dim=-1) / 2
    near = (boxes[:, None, :2] - boxes[None, :, :2]).norm(dim=-1) < radius[:, None] + radius[None]
    rows, columns = ((classes[:, None] == classes[None]) & near).triu(diagonal=1).nonzero(as_tuple=True)
    clashes = torch.zeros_like(near)
    clashes[rows, columns] = rotated_iou(boxes[rows], boxes[columns]) > iou_threshold
    return order[keep_without_clashes(clashes, max_det).to(order.device)]
