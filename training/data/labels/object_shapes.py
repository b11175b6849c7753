"""Packs the masks, keypoints and oriented boxes of labels into bytes, and unpacks them.

A packed mask holds polygons or a run-length encoded mask. It is converted to pixels only when its image is
loaded. Packed keypoints hold x, y and visibility of each keypoint. A packed oriented box holds x and y of its
four corners.
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
    """How the coordinates of labels are converted to pixels of an upright image."""

    image_hw: tuple[int, int]
    turn: int = 1  # EXIF orientation by which labels have to be turned, see turn_of; 1: not at all
    fractions: bool = False  # labels are fractions of the image size instead of pixels

    def points(self, stated: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convert points (..., 2) from the coordinates of the labels to pixels of the upright image."""
        if self.fractions:
            return stated * self.image_hw[::-1]
        return upright_points(stated, self.turn, self.image_hw)


def packed_numbers(values: Iterable[float]) -> bytes:
    """Pack keypoints (x, y and visibility of each) or corners (x and y of each) as bytes."""
    return array("d", values).tobytes()


def packed_polygons(polygons: Sequence[Sequence[float]]) -> bytes:
    """Pack the polygons of one object as bytes; each polygon is given as x1, y1, x2, y2, …"""
    lengths = array("q", map(len, polygons)).tobytes()
    return POLYGONS.pack(POLYGONS_MARK, len(polygons)) + lengths + b"".join(map(packed_numbers, polygons))


def packed_runs(counts: bytes, height: int, width: int) -> bytes:
    """Pack a mask as bytes; `counts` holds its compressed run lengths, which must be well-formed."""
    return RUNS.pack(RUNS_MARK, height, width) + counts


def masks_of(packed: Sequence[bytes], boxes_xyxy: NDArray[np.float32], upright: Upright) -> tuple[Mask, ...]:
    """Return masks as pixels of the upright image; a mask without an outline is the rectangle of the box.

    Polygons are converted to pixels by the rasteriser of the COCO API, so that the masks in evaluation are
    the same as in the COCO API.

    Args:
        packed: N packed masks. A mask is empty bytes if the label states none.
        boxes_xyxy: (N, 4), in pixels of the upright image.
    """
    return tuple(
        _mask_of(each, box.astype(np.float64), upright) for each, box in zip(packed, boxes_xyxy, strict=True)
    )


def keypoints_of(packed: Sequence[bytes], count: int, upright: Upright) -> NDArray[np.float32]:
    """Return keypoints (N, P, 3) in pixels; keypoints that are not labelled are at 0, 0.

    Args:
        packed: N packed lists of keypoints. A list is empty bytes if no keypoint is labelled.
        count: the number P of keypoints of each object.
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
    """Return the corners (N, 4, 2) of oriented boxes in pixels, clockwise.

    An object without corners gets the corners of its upright box. Four corners that do not form a rectangle
    are replaced by the smallest rectangle around them.
    """
    x1, y1, x2, y2 = boxes_xyxy.T.astype(np.float64)
    found = np.stack([x1, y1, x2, y1, x2, y2, x1, y2], axis=1).reshape(-1, 4, 2)
    for place, each in enumerate(packed):
        if each:
            found[place] = upright.points(np.frombuffer(each).reshape(4, 2))
    return as_rectangles(found).astype(np.float32)


def outline_points(packed: bytes) -> NDArray[np.float64]:
    """Return points (M, 2) with the convex hull of a packed mask, in the coordinates of the label file."""
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
