"""Packs what labels state beyond boxes into bytes, and unpacks it: masks, keypoints and oriented boxes.

A packed mask is its outline, as polygons or as a run-length encoded mask; it becomes pixels only when its
image is loaded. Packed keypoints are x, y, visibility of each, and a packed oriented box is x, y of four
corners.
"""

from array import array
from collections.abc import Iterable, Sequence
from struct import Struct
from typing import Any, NamedTuple

import numpy as np
from faster_coco_eval.core import mask as coco_mask
from numpy.typing import NDArray

from training.data.labels.orientation import upright_bitmap, upright_points
from training.data.labels.oriented import as_rectangles
from training.data.masks import Mask

RUNS = Struct("=cqq")  # RUNS_MARK, height, width; the compressed run lengths follow
POLYGONS = Struct("=cq")  # POLYGONS_MARK, number of polygons; their lengths and all coordinates follow
RUNS_MARK, POLYGONS_MARK = b"R", b"P"


class Upright(NamedTuple):
    """How labels become pixels of an upright image."""

    image_hw: tuple[int, int]
    turn: int = 1  # EXIF orientation by which labels have to be turned, see turn_of; 1: not at all
    fractions: bool = False  # labels are fractions of the image size instead of pixels

    def points(self, stated: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return points (..., 2), as labels state them, in pixels of the upright image."""
        if self.fractions:
            return stated * self.image_hw[::-1]
        return upright_points(stated, self.turn, self.image_hw)


def packed_numbers(values: Iterable[float]) -> bytes:
    """Return keypoints (x, y, visibility of each) or corners (x, y of each) as bytes."""
    return array("d", values).tobytes()


def packed_polygons(polygons: Sequence[Sequence[float]]) -> bytes:
    """Return the polygons of one object as bytes; each is x1, y1, x2, y2, …"""
    lengths = array("q", map(len, polygons)).tobytes()
    return POLYGONS.pack(POLYGONS_MARK, len(polygons)) + lengths + b"".join(map(packed_numbers, polygons))


def packed_runs(counts: bytes, height: int, width: int) -> bytes:
    """Return a mask as bytes; `counts` are its compressed run lengths, which must be well-formed."""
    return RUNS.pack(RUNS_MARK, height, width) + counts


def masks_of(packed: Sequence[bytes], boxes_xyxy: NDArray[np.float32], upright: Upright) -> tuple[Mask, ...]:
    """Return masks as pixels of the upright image; without an outline, the rectangle of the box.

    Polygons become pixels by the rasteriser of the COCO API, so that evaluation sees the same masks.

    Args:
        packed: N packed masks; empty: the labels state none.
        boxes_xyxy: (N, 4), in pixels of the upright image.
    """
    return tuple(
        _mask_of(each, box.astype(np.float64), upright) for each, box in zip(packed, boxes_xyxy, strict=True)
    )


def keypoints_of(packed: Sequence[bytes], count: int, upright: Upright) -> NDArray[np.float32]:
    """Return keypoints (N, P, 3) in pixels; those not labelled are at 0, 0.

    Args:
        packed: N packed lists of keypoints; empty: none is labelled.
        count: P.
    """
    found = np.zeros((len(packed), count, 3), dtype=np.float64)
    for place, each in enumerate(packed):
        if each:
            found[place] = np.frombuffer(each).reshape(count, 3)
    found[..., :2] = upright.points(found[..., :2])
    found[found[..., 2] == 0] = 0
    return found.astype(np.float32)


def corners_of(
    packed: Sequence[bytes], boxes_xyxy: NDArray[np.float32], upright: Upright
) -> NDArray[np.float32]:
    """Return oriented boxes (N, 4, 2) in pixels, clockwise; without corners, the upright box.

    Four corners that are no rectangle become the smallest rectangle around them.
    """
    x1, y1, x2, y2 = boxes_xyxy.T.astype(np.float64)
    found = np.stack([x1, y1, x2, y1, x2, y2, x1, y2], axis=1).reshape(-1, 4, 2)
    for place, each in enumerate(packed):
        if each:
            found[place] = upright.points(np.frombuffer(each).reshape(4, 2))
    return as_rectangles(found).astype(np.float32)


def outline_points(packed: bytes) -> NDArray[np.float64]:
    """Return points (M, 2) with the same convex hull as a packed mask, in pixels of the file, not upright."""
    if packed[:1] == POLYGONS_MARK:
        return np.concatenate(_polygons(packed))
    bitmap = _runs_bitmap(packed)
    rows = np.flatnonzero(bitmap.any(axis=1))  # of each, the first and the last pixel are enough
    first, end = bitmap[rows].argmax(axis=1), bitmap.shape[1] - bitmap[rows, ::-1].argmax(axis=1)
    ends = [(column, row) for column in (first, end) for row in (rows, rows + 1)]  # a pixel covers 1 × 1
    return np.concatenate([np.stack(each, axis=1) for each in ends]).astype(np.float64)


def _mask_of(packed: bytes, box: NDArray[np.float64], upright: Upright) -> Mask:
    height, width = upright.image_hw
    if packed[:1] == RUNS_MARK:
        bitmap = upright_bitmap(_runs_bitmap(packed), upright.turn)
        return Mask.of(bitmap[:height, :width])
    if packed:
        polygons = [upright.points(each).ravel().tolist() for each in _polygons(packed)]
    else:
        x1, y1, x2, y2 = box.tolist()
        polygons = [[x1, y1, x2, y1, x2, y2, x1, y2]]
    return Mask.of(_decoded(coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))))


def _runs_bitmap(packed: bytes) -> NDArray[np.bool_]:
    _, height, width = RUNS.unpack_from(packed)
    return _decoded({"size": [height, width], "counts": packed[RUNS.size :]})


def _decoded(runs: Any) -> NDArray[np.bool_]:
    return np.asarray(coco_mask.decode(runs)).astype(np.bool_)


def _polygons(packed: bytes) -> list[NDArray[np.float64]]:
    """Return the polygons of a packed mask, each (M, 2)."""
    _, count = POLYGONS.unpack_from(packed)
    lengths = np.frombuffer(packed, dtype=np.int64, count=count, offset=POLYGONS.size)
    values = np.frombuffer(packed, dtype=np.float64, offset=POLYGONS.size + lengths.nbytes)
    return [each.reshape(-1, 2) for each in np.split(values, np.cumsum(lengths)[:-1])]
