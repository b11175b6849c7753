"""Compute the masks of detected objects from coefficients and prototypes, one object at a time."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.pipeline.letterbox import Letterbox

_BLOCK = 1 << 20  # logits that are computed at once

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

# K prototypes · h, w of a prototype · H, W of the source image · R runs of pixels


class Mask(NamedTuple):
    """The pixels of one object, as runs down the columns of its image, ordered by column and row.

    A bitmap of an object that fills an image of 40 megapixels needs 40 MB; its runs need less than 1 MB.
    """

    columns: Ints  # (R,)
    starts: Ints  # (R,) the first row of each run; it does not touch the run before it in its column
    ends: Ints  # (R,) the row after each run


class _Axis(NamedTuple):
    """Some pixels along one side of the image, and where they are between the centres of prototype cells."""

    pixels: Ints  # (n,) ascending
    low: Ints  # (n,) the cell before the pixel
    high: Ints  # (n,) the cell after it; beyond the centre of the first or last cell, both are that cell
    share: Floats  # (n,) the weight of the cell after it

    def part(self, places: slice) -> "_Axis":
        return _Axis(self.pixels[places], self.low[places], self.high[places], self.share[places])


def object_mask(
    coefficients: NDArray[np.floating],
    prototypes: NDArray[np.floating],
    box_xyxy: NDArray[np.float32],
    place: Letterbox,
    image_hw: tuple[int, int],
    stride: int,
) -> Mask:
    """Return the mask of an object in pixels of the source image.

    A pixel belongs to the object if its centre is inside the box, and if the object's logit there is above 0.
    The logit of a prototype cell is the sum of the prototypes, weighted by the coefficients; between the
    centres of cells, it is interpolated bilinearly. So between two centres, the logit changes its sign at
    most once down a column. Only the rows where it does are searched for, so time and memory hardly depend
    on the height of the image.

    Args:
        coefficients: (K,).
        prototypes: (K, h, w).
        box_xyxy: (4,) in pixels of the source image.
        place: where the source image is in the model input.
        image_hw: height and width of the source image.
        stride: pixels of the model input per prototype cell, in both directions.
    """
    left, top, right, bottom = box_xyxy.tolist()
    _, height, width = prototypes.shape
    x = _axis(_pixels(left, right, image_hw[1]), place.scale, place.left, stride, width)
    y = _axis(_pixels(top, bottom, image_hw[0]), place.scale, place.top, stride, height)
    if not len(x.pixels) or not len(y.pixels):
        return Mask(*np.zeros((3, 0), dtype=np.int64))
    x_first, y_first = int(x.low[0]), int(y.low[0])
    needed = prototypes[:, y_first : y.high[-1] + 1, x_first : x.high[-1] + 1].astype(np.float32)
    logits = np.tensordot(coefficients.astype(np.float32), needed, axes=1)
    x = x._replace(low=x.low - x_first, high=x.high - x_first)
    y = y._replace(low=y.low - y_first, high=y.high - y_first)
    # In blocks of columns, because an image may be very wide.
    block = max(1, _BLOCK // len(logits))
    parts = [
        _runs(logits, x.part(slice(first, first + block)), y) for first in range(0, len(x.pixels), block)
    ]
    return Mask(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _runs(logits: Floats, x: _Axis, y: _Axis) -> Mask:
    """Return the runs of pixels whose logit is above 0.

    Args:
        logits: of prototype cells, (h, w).
        x: the columns.
        y: the rows.
    """
    cells, share = np.ascontiguousarray(logits.T), x.share[:, None]
    wide = cells[x.low] * (1 - share) + cells[x.high] * share  # (columns, h)
    is_set = np.zeros((len(wide), len(logits) + 2), dtype=np.bool_)
    is_set[:, 1:-1] = wide > 0
    column, cell = np.nonzero(is_set[:, 1:] != is_set[:, :-1])  # the first cell behind each change
    # The change is at the first row of the cell before it, at the first row of the cell, or between them.
    # Before the first cell and behind the last one, it is at the edge of the box.
    rows = np.searchsorted(y.low, np.arange(len(logits)))
    low = np.concatenate([[0], rows[:-1], [len(y.low)]])[cell]
    high = np.concatenate([[0], rows[1:], [len(y.low)]])[cell]
    upper, lower = wide[column, cell - 1], wide[column, np.minimum(cell, len(logits) - 1)]
    while len(open_ := np.flatnonzero(low < high)):
        middle = (low[open_] + high[open_]) // 2
        share = y.share[middle]
        is_behind = (upper[open_] * (1 - share) + lower[open_] * share > 0) == (lower[open_] > 0)
        high[open_] = np.where(is_behind, middle, high[open_])
        low[open_] = np.where(is_behind, low[open_], middle + 1)
    # Where cells are smaller than pixels, or at the edge of the box, changes may be at the same row. Two of
    # them cancel each other out.
    columns, rows = _odd(column, high)
    return Mask(x.pixels[columns[::2]], rows[::2] + y.pixels[0], rows[1::2] + y.pixels[0])


def _odd(columns: Ints, rows: Ints) -> tuple[Ints, Ints]:
    """Return the places of an ordered list that are in it an odd number of times, once each."""
    differs = (columns[1:] != columns[:-1]) | (rows[1:] != rows[:-1])
    first = np.flatnonzero(np.append(True, differs)[: len(rows)])
    is_odd = np.diff(first, append=len(rows)) % 2 == 1
    return columns[first[is_odd]], rows[first[is_odd]]


def _pixels(start: float, end: float, side: int) -> Ints:
    """Return the pixels, ascending, whose centres are from `start` to before `end` and inside the image."""
    first, last = np.ceil(np.clip([start, end], 0, side) - 0.5).astype(np.int64)
    return np.arange(first, last)


def _axis(pixels: Ints, scale: float, offset: int, stride: int, cells: int) -> _Axis:
    """Return where pixels are between the centres of `cells` prototype cells.

    Args:
        pixels: of the source image, ascending.
        scale: pixels of the model input per pixel of the source image.
        offset: where the source image begins in the model input.
        stride: pixels of the model input per cell.
        cells: number of cells.
    """
    at = (((pixels + 0.5) * scale + offset) / stride - 0.5).clip(0, cells - 1)
    low = np.floor(at).astype(np.int64)
    return _Axis(pixels, low, np.minimum(low + 1, cells - 1), (at - low).astype(np.float32))
