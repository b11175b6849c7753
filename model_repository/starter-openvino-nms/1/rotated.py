"""Compute corners and overlaps of rotated boxes, with NumPy alone: this runs in Triton's own Python.

Angles are in radians, clockwise on the image, whose y axis points down, around the box's centre.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

# N boxes


def corners_of(boxes_xyxy: Floats, angles: Floats) -> NDArray[np.float64]:
    """Return the corners (N, 4, 2) of boxes, (N, 4) before their rotation by angles (N,).

    Their order is that of top-left, top-right, bottom-right and bottom-left before the rotation.
    """
    first, second = np.split(boxes_xyxy.astype(np.float64)[:, None], 2, axis=2)  # (N, 1, 2)
    half = (second - first) / 2 * [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    return (first + second) / 2 + _turned(half, angles[:, None])


def shared_areas(boxes_xyxy: Floats, angles: Floats) -> NDArray[np.float64]:
    """Return the exact areas that the first box shares with each of the others, (N - 1,), square pixels.

    In the first box's frame, the outline of another is cut where it crosses the lines of the first one's
    sides, and every point is moved to the nearest point of the first box. What the moved outline encloses is
    the shared area: moving does not change how often it winds around a point inside.
    """
    corners = corners_of(boxes_xyxy, angles)
    start = _turned(corners[1:] - corners[0].mean(axis=0), -angles[:1, None])
    step = np.roll(start, -1, axis=1) - start  # (N - 1, 4, 2)
    half = (boxes_xyxy[0, 2:].astype(np.float64) - boxes_xyxy[0, :2]).clip(0) / 2
    divisor = np.where(step == 0, 1, step)
    cuts = np.concatenate([(-half - start) / divisor, (half - start) / divisor], axis=2).clip(0, 1)
    share = np.concatenate([np.zeros_like(cuts[..., :1]), np.sort(cuts), np.ones_like(cuts[..., :1])], axis=2)
    points = (start[:, :, None] + share[..., None] * step[:, :, None]).clip(-half, half)  # (N - 1, 4, 6, 2)
    here, there = points[:, :, :-1], points[:, :, 1:]
    crosses = here[..., 0] * there[..., 1] - here[..., 1] * there[..., 0]
    return np.asarray(np.abs(crosses.sum(axis=(1, 2))) / 2)


def _turned(offsets: NDArray[np.float64], angles: Floats) -> NDArray[np.float64]:
    """Return offsets (N, 4, 2), turned by angles (N, 1)."""
    cos, sin = np.cos(angles.astype(np.float64)), np.sin(angles.astype(np.float64))
    x, y = offsets[..., 0], offsets[..., 1]
    return np.stack([x * cos - y * sin, x * sin + y * cos], axis=-1)
