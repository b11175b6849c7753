"""Compute with rotated boxes: their corners, their IoU, and the suppression of non-maxima.

A rotated box consists of an unrotated box and the angle by which this box is turned around its centre. The
angle is the direction of the width axis, in radians, clockwise on the image, whose y axis points down.
"""

import numpy as np
from numpy.typing import NDArray

from service.pipeline.nms import keep_best
from service.types import Candidates


def corners_of(boxes_xyxy: NDArray[np.floating], angles: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the corners (N, 4, 2) of N rotated boxes, in the unit of the boxes.

    The order is, with the names that the corners have before the rotation: top left, top right, bottom right,
    bottom left.

    Args:
        boxes_xyxy: (N, 4) the boxes before the rotation.
        angles: (N,) radians, clockwise.
    """
    boxes = boxes_xyxy.astype(np.float64)
    centres = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    half = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)[:, None] / 2
    offsets = half * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])  # (N, 4, 2)
    cosine, sine = np.cos(angles.astype(np.float64))[:, None], np.sin(angles.astype(np.float64))[:, None]
    x, y = offsets[..., 0], offsets[..., 1]
    turned: NDArray[np.float64] = np.stack([x * cosine - y * sine, x * sine + y * cosine], axis=-1)
    return centres + turned


def rotated_ious(one: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the exact IoU (N,) of one box with N boxes, all given by their corners: (4, 2) and (N, 4, 2).

    Two boxes without area have IoU 0. To save time, the function computes an intersection only if the
    unrotated rectangles around the two boxes overlap.
    """
    ious = np.zeros(len(others))
    near = np.flatnonzero(
        ((one.min(axis=0) < others.max(axis=1)) & (others.min(axis=1) < one.max(axis=0))).all(axis=1)
    )
    if not len(near):
        return ious
    # Near the origin, the coordinates of small boxes keep more digits.
    centre = one.mean(axis=0)
    mine, theirs = one - centre, others[near] - centre
    overlap = _intersection_areas(theirs, mine)
    union = _areas(mine[None])[0] + _areas(theirs) - overlap
    ious[near] = np.divide(overlap, union, out=np.zeros(len(near)), where=union > 0)
    return ious


def suppress_rotated(
    candidates: Candidates,
    conf: float | NDArray[np.float32],
    iou: float,
    max_det: int,
    *,
    agnostic: bool = False,
) -> NDArray[np.int64]:
    """Return the row numbers of the rotated boxes to keep, as nms.suppress does for unrotated boxes.

    Args:
        candidates: N boxes with their angles, in pixels of the model input.
        conf: lowest score at which a box is kept: one number for all boxes, or (N,) a number for each box.
        iou: a box is dropped if its IoU with a higher-scored box of its class is greater than this.
        max_det: maximum number of rows to return.
        agnostic: whether a box is also dropped for its IoU with a higher-scored box of another class.
    """
    assert candidates.angles is not None
    corners = corners_of(candidates.boxes_xyxy, candidates.angles)

    def overlapping(best: int, rivals: NDArray[np.int64]) -> NDArray[np.bool_]:
        return rotated_ious(corners[best], corners[rivals]) > iou

    return keep_best(candidates, conf, max_det, overlapping, agnostic=agnostic)


def _intersection_areas(polygons: NDArray[np.float64], clip: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the areas (N,) that N convex polygons (N, 4, 2) share with the convex polygon `clip` (4, 2).

    One after another, each edge of `clip` cuts off the part of every polygon on its outer side (Sutherland
    and Hodgman, "Reentrant polygon clipping", 1974). All polygons must list their corners in the same
    direction, clockwise or counterclockwise.
    """
    for begin, end in zip(clip, np.roll(clip, -1, axis=0), strict=True):
        if polygons.shape[1] == 0:
            break
        following = np.roll(polygons, -1, axis=1)
        side = _cross(end - begin, polygons - begin)
        next_side = np.roll(side, -1, axis=1)
        inside, next_inside = side >= 0, next_side >= 0
        crossed = inside != next_inside
        share = np.divide(side, side - next_side, out=np.zeros_like(side), where=crossed)
        points = np.stack([polygons + (following - polygons) * share[..., None], following], axis=2)
        valid = np.stack([crossed, next_inside], axis=2).reshape(len(polygons), -1)
        points = points.reshape(len(polygons), -1, 2)
        # Bring the valid corners to the front; repeat the first one in the rest, which adds no area.
        counts = valid.sum(axis=1)
        order = np.argsort(~valid, axis=1, kind="stable")[:, : int(counts.max(initial=0))]
        order = np.where(np.arange(order.shape[1]) < counts[:, None], order, order[:, :1])
        polygons = np.take_along_axis(points, order[..., None], axis=1)
    return np.maximum(_areas(polygons), 0)


def _areas(polygons: NDArray[np.float64]) -> NDArray[np.float64]:
    if polygons.shape[1] == 0:
        return np.zeros(len(polygons))
    areas: NDArray[np.float64] = _cross(polygons, np.roll(polygons, -1, axis=1)).sum(axis=1) / 2
    return areas


def _cross(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    product: NDArray[np.float64] = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    return product
