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

    def at(self, places: Ints | slice) -> "_Axis":
        return _Axis(self.pixels[places], self.low[places], self.high[places], self.share[places])

    def mix(self, low: Floats, high: Floats) -> Floats:
        return low * (1 - self.share) + high * self.share


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
    most once down a column. Only the pixels next to the centres and those where the sign may change are
    looked at; time and memory hardly depend on the height of the image.

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
    looked_at = _ends_of_steps(y.low)
    # In blocks of columns, because an image may be very wide.
    block = max(1, _BLOCK // len(looked_at))
    parts = [
        _runs(logits, x.at(slice(first, first + block)), y, looked_at)
        for first in range(0, len(x.pixels), block)
    ]
    return Mask(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _ends_of_steps(low: Ints) -> Ints:
    """Return the places of the first and the last pixel between each two centres of cells, ascending."""
    changes = low[1:] != low[:-1]
    return np.flatnonzero(np.append(True, changes) | np.append(changes, True))


def _runs(logits: Floats, x: _Axis, y: _Axis, looked_at: Ints) -> Mask:
    """Return the runs of pixels whose logit is above 0.

    Args:
        logits: of prototype cells, (h, w).
        x: the columns.
        y: the rows.
        looked_at: places in `y`, ascending. Between two of them, the logit changes its sign at most once.
    """
    wide = x.mix(logits[:, x.low], logits[:, x.high])  # (h, columns)
    seen = y.at(looked_at)
    seen = seen._replace(share=seen.share[:, None])
    signs = np.zeros((len(x.pixels), len(looked_at) + 2), dtype=np.bool_)
    signs[:, 1:-1] = (seen.mix(wide[seen.low], wide[seen.high]) > 0).T
    column, after = np.nonzero(signs[:, 1:] != signs[:, :-1])  # starts and ends of runs, in turns
    is_set = signs[column, after + 1]
    # The change is after place `before`, and at the latest at place `until`.
    bounds = np.concatenate([[looked_at[0] - 1], looked_at, [looked_at[-1] + 1]])
    before, until = bounds[after], bounds[after + 1]
    while len(open_ := np.flatnonzero(until - before > 1)):
        middle = (before[open_] + until[open_]) // 2
        here, at_column = y.at(middle), column[open_]
        changed = (here.mix(wide[here.low, at_column], wide[here.high, at_column]) > 0) == is_set[open_]
        until[open_[changed]] = middle[changed]
        before[open_[~changed]] = middle[~changed]
    rows = until + y.pixels[0]
    return Mask(x.pixels[column[::2]], rows[::2], rows[1::2])


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
