"""Compute the masks of detected objects from coefficients and prototypes, one object at a time."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.pipeline.letterbox import Letterbox

_BLOCK = 1 << 20  # logits that are computed at once

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Positions = NDArray[np.float64]

# K prototypes · h, w of a prototype · H, W of the source image · R runs of pixels


class Mask(NamedTuple):
    """The pixels of one object, stored as runs.

    A run is an unbroken line of pixels in one column of the image. Runs are sorted by column, then by row. If
    an object fills an image of 40 megapixels, its bitmap needs 40 MB, but its runs need less than 1 MB.
    """

    columns: Ints  # (R,)
    starts: Ints  # (R,) the first row of each run; it does not touch the run before it in its column
    ends: Ints  # (R,) the row after each run


def object_mask(
    coefficients: NDArray[np.floating],
    prototypes: NDArray[np.floating],
    box_xyxy: NDArray[np.float32],
    place: Letterbox,
    image_hw: tuple[int, int],
    stride: int,
) -> Mask:
    """Return the mask of an object in pixels of the source image.

    A pixel belongs to the object if its centre is inside the box and the object's logit at its centre is
    above 0. The logit of a prototype cell is the sum of the prototypes, weighted by the coefficients. Between
    the centres of cells, the logit is interpolated bilinearly. So down a column of pixels, the logit changes
    its sign at most once between two cell centres. The function calculates the rows of these changes, so time
    and memory hardly depend on the height of the image.

    Args:
        coefficients: (K,) the object's weight of each prototype.
        prototypes: (K, h, w).
        box_xyxy: (4,) in pixels of the source image.
        place: position of the source image in the model input.
        image_hw: height and width of the source image.
        stride: pixels of the model input per prototype cell, in both directions.
    """
    left, top, right, bottom = box_xyxy.tolist()
    _, height, width = prototypes.shape
    columns, rows = _pixels(left, right, image_hw[1]), _pixels(top, bottom, image_hw[0])
    if not len(columns) or not len(rows):
        return Mask(*np.zeros((3, 0), dtype=np.int64))
    x = _in_cells(columns, place.scale, place.left, stride, width)
    y = _in_cells(rows, place.scale, place.top, stride, height)
    x_first, y_first = int(x[0]), int(y[0])
    needed = prototypes[:, y_first : int(y[-1]) + 2, x_first : int(x[-1]) + 2].astype(np.float32)
    logits = (coefficients.astype(np.float32) @ needed.reshape(len(needed), -1)).reshape(needed.shape[1:])
    x, y = x - x_first, y - y_first
    # In blocks of columns, because an image may be very wide.
    block = max(1, _BLOCK // len(logits))
    parts = [(first, *_runs(logits, x[first : first + block], y)) for first in range(0, len(x), block)]
    return Mask(
        np.concatenate([found + first + columns[0] for first, found, _, _ in parts]),
        np.concatenate([starts + rows[0] for _, _, starts, _ in parts]),
        np.concatenate([ends + rows[0] for _, _, _, ends in parts]),
    )


def _runs(logits: Floats, x: Positions, y: Positions) -> tuple[Ints, Ints, Ints]:
    """Return the vertical runs of pixels whose logit is above 0, as three arrays.

    The arrays hold each run's column (an index into `x`), and its start and end rows (indices into `y`).

    Args:
        logits: (h, w) the logit of each prototype cell.
        x: positions of the pixel columns, in prototype cells from the centre of the first cell, ascending.
        y: positions of the pixel rows, in the same way.
    """
    cells, low = np.ascontiguousarray(logits.T), x.astype(np.int64)
    share = (x - low).astype(np.float32)[:, None]
    wide = cells[low] * (1 - share) + cells[np.minimum(low + 1, len(cells) - 1)] * share  # (columns, h)
    is_set = np.zeros((len(wide), len(logits) + 2), dtype=np.bool_)
    is_set[:, 1:-1] = wide > 0
    column, cell = np.nonzero(is_set[:, 1:] != is_set[:, :-1])  # the first cell behind each change
    # Before the first cell and behind the last one, the change is at the edge of the box.
    row = np.where(cell == 0, 0, len(y))
    between = np.flatnonzero((cell > 0) & (cell < len(logits)))
    at_column, behind = column[between], cell[between]
    upper, lower = wide[at_column, behind - 1].astype(np.float64), wide[at_column, behind]
    zero = behind - 1 + upper / (upper - lower)
    row[between] = np.where(lower > 0, np.searchsorted(y, zero, "right"), np.searchsorted(y, zero))
    # Where cells are smaller than pixels, or at the edge of the box, changes may be at the same row. Two of
    # them cancel each other out.
    column, row = _odd(column, row)
    return column[::2], row[::2], row[1::2]


def _odd(columns: Ints, rows: Ints) -> tuple[Ints, Ints]:
    """Return, once each, the (column, row) places that a sorted list contains an odd number of times."""
    differs = np.ones(len(rows) + 1, dtype=np.bool_)
    differs[1:-1] = (columns[1:] != columns[:-1]) | (rows[1:] != rows[:-1])
    first = np.flatnonzero(differs)  # of each group of equal places, and the end
    odd = first[:-1][np.diff(first) % 2 == 1]
    return columns[odd], rows[odd]


def _pixels(start: float, end: float, side: int) -> Ints:
    """Return, ascending, the pixels inside the image whose centres are at or after `start` and before `end`.

    If `start` or `end` is NaN, it counts as 0.
    """
    first, last = (math.ceil(min(side, max(0, edge)) - 0.5) for edge in (start, end))
    return np.arange(first, last)


def _in_cells(pixels: Ints, scale: float, offset: int, stride: int, cells: int) -> Positions:
    """Return the positions of pixels in prototype cells, clipped to the centres of the first and last cell.

    Args:
        pixels: positions of pixels of the source image, ascending.
        scale: pixels of the model input per pixel of the source image.
        offset: where the source image begins in the model input.
        stride: pixels of the model input per cell.
        cells: number of cells.
    """
    at: Positions = (((pixels + 0.5) * scale + offset) / stride - 0.5).clip(0, cells - 1)
    return at
