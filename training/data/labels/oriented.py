"""Finds the oriented box of an object: the rectangle of smallest area around its outline."""

import cv2
import numpy as np
from numpy.typing import NDArray

ROUNDING_PX = 1.0  # labels state corners in whole pixels, so corners of a rectangle are off by up to this


def smallest_rectangle(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the corners (4, 2), clockwise on the image, of the smallest rectangle around points (M, 2).

    One side of the smallest rectangle lies on a side of the points' convex hull (Freeman and Shapira 1975).
    The first two corners of the result span a side in the direction of that side of the hull.
    """
    hull = _hull(points)
    if len(hull) < 2:
        return np.repeat(hull[:1], 4, axis=0)
    sides = np.roll(hull, -1, axis=0) - hull
    along = sides / np.linalg.norm(sides, axis=1, keepdims=True)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    u, v = hull @ along.T, hull @ across.T  # (points, sides)
    spans = np.ptp(u, axis=0) * np.ptp(v, axis=0)
    best = int(spans.argmin())
    (u1, u2), (v1, v2) = ((part[:, best].min(), part[:, best].max()) for part in (u, v))
    return np.array([[u1, v1], [u2, v1], [u2, v2], [u1, v2]]) @ np.stack([along[best], across[best]])


def as_rectangles(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the corners (N, 4, 2) of N rectangles, clockwise on the image.

    If the given four corners form a rectangle within ROUNDING_PX, they stay, and so does the first of them.
    Otherwise, they are replaced by the smallest rectangle around them.
    """
    found = corners.copy()
    x, y = found[..., 0], found[..., 1]
    doubled = (x * np.roll(y, -1, axis=1) - y * np.roll(x, -1, axis=1)).sum(axis=1)
    counter = doubled < 0
    found[counter] = found[counter][:, [0, 3, 2, 1]]
    first, second, third, fourth = found.transpose(1, 0, 2)
    skewed = np.abs(first + third - second - fourth).max(axis=1, initial=0) > 2 * ROUNDING_PX
    diagonals = np.linalg.norm(third - first, axis=1) - np.linalg.norm(fourth - second, axis=1)
    for place in np.flatnonzero(skewed | (np.abs(diagonals) > 2 * ROUNDING_PX)):
        found[place] = smallest_rectangle(found[place])
    return found


def _hull(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the corners of the convex hull in order, clockwise on the image."""
    distinct = np.unique(points, axis=0)
    # OpenCV computes in float32. So points are moved near the origin, and only OpenCV's choice is used.
    near = (distinct - distinct.mean(axis=0)).astype(np.float32)
    chosen = cv2.convexHull(near, clockwise=False, returnPoints=False)  # OpenCV's y axis points up
    return np.asarray(distinct[chosen[:, 0]])
