"""Compute corners and overlaps of rotated boxes; import only NumPy, because Triton's own Python runs this.

An angle turns a box around its centre. Angles are in radians, clockwise on the image, whose y axis points
down.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

# N boxes


def corners_of(boxes_xyxy: Floats, angles: Floats) -> NDArray[np.float64]:
    """Return the corners (N, 4, 2) of the boxes (N, 4) after their rotation by the angles (N,).

    The order is, with the names that the corners have before the rotation: top left, top right, bottom right,
    bottom left.
    """
    first, second = np.split(boxes_xyxy.astype(np.float64)[:, None], 2, axis=2)  # (N, 1, 2)
    half = (second - first) / 2 * [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    return (first + second) / 2 + _turned(half, angles[:, None])


def shared_areas(boxes_xyxy: Floats, angles: Floats) -> NDArray[np.float64]:
    """Return the exact areas (N - 1,) that the first box shares with each other box, in square pixels.

    The function works in the coordinates of the first box. It cuts the outline of another box where the
    outline crosses the lines of the first box's sides. Then it moves every point of the outline to the
    nearest point of the first box. The moved outline encloses the shared area, because the move does not
    change how often the outline winds around a point inside the first box.
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
