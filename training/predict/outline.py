"""Traces the outlines of masks along the edges of their pixels."""

import numpy as np
from numpy.typing import NDArray

from training.data.masks import Mask

Point = tuple[int, int]


def outer_rings(mask: Mask) -> list[NDArray[np.int64]]:
    """Return the outer outline of each connected part of a mask, (K, 2) x, y of pixel edges, clockwise.

    Pixels that only touch at a corner belong to different parts. Outlines (rings) are not closed: the first
    point is not repeated. Holes are left out. The ring of the leftmost of the topmost pixels is first.
    """
    following = _edges(mask.bitmap)
    rings = []
    for start in sorted(following, key=lambda point: (point[1], point[0])):
        while start in following:  # not yet part of another ring; two rings can begin where pixels touch
            ring = _corners(_walk(following, start))
            if _area(ring) > 0:
                rings.append(ring + np.array([mask.left, mask.top]))
    return rings


def joined(rings: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return one ring (K, 2) that encloses the pixels of all rings; bridges of width 0 connect the rings."""
    forth = [np.concatenate([ring, ring[:1]]) for ring in rings]
    back = [ring[:1] for ring in rings[-2::-1]]  # each bridge is crossed twice, so that it encloses nothing
    whole = np.concatenate([*forth, *back])
    return whole[:-1]  # the way back ends where the ring began


def _edges(bitmap: NDArray[np.bool_]) -> dict[Point, list[Point]]:
    """Return the ends of all edges between mask and outside, by start; the mask is right of each edge."""
    padded = np.pad(bitmap, 1)
    inside = padded[1:-1, 1:-1]
    sides = (
        (padded[:-2, 1:-1], (0, 0), (1, 0)),  # above: along the upper edge to the right
        (padded[1:-1, 2:], (1, 0), (1, 1)),  # right: down
        (padded[2:, 1:-1], (1, 1), (0, 1)),  # below: to the left
        (padded[1:-1, :-2], (0, 1), (0, 0)),  # left: up
    )
    following: dict[Point, list[Point]] = {}
    for neighbour, start, end in sides:
        for y, x in np.argwhere(inside & ~neighbour).tolist():
            following.setdefault((x + start[0], y + start[1]), []).append((x + end[0], y + end[1]))
    return following


def _walk(following: dict[Point, list[Point]], start: Point) -> list[Point]:
    """Remove the edges of one ring from `following`, and return the ring's points."""
    ring, point, step = [start], start, (1, 0)
    while True:
        ends = following[point]
        right = (point[0] - step[1], point[1] + step[0])
        # Where two pixels touch at a corner, the turn to the right stays at the same pixel.
        end = right if right in ends else ends[0]
        ends.remove(end)
        if not ends:
            del following[point]
        step, point = (end[0] - point[0], end[1] - point[1]), end
        if point == start:
            return ring
        ring.append(point)


def _corners(ring: list[Point]) -> NDArray[np.int64]:
    """Return those points of a ring at which its direction changes."""
    points = np.array(ring, dtype=np.int64)
    into, out = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    return points[(into != out).any(axis=1)]


def _area(ring: NDArray[np.int64]) -> float:
    """Return the area inside a ring, positive if it runs clockwise on the image."""
    following = np.roll(ring, -1, axis=0)
    return float((ring[:, 0] * following[:, 1] - ring[:, 1] * following[:, 0]).sum()) / 2
