"""Compute the masks of detected objects from coefficients and prototypes, one object at a time."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.pipeline.letterbox import Letterbox

_BLOCK_PIXELS = 1 << 20

# K prototypes · h, w of a prototype · H, W of the source image


class Mask(NamedTuple):
    """The pixels of one object, in a window of its image. Outside the window, no pixel is of the object."""

    left: int  # of the window in the image, pixels
    top: int
    bitmap: NDArray[np.bool_]  # (window height, window width)


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
    centres of cells, it is interpolated bilinearly. Only the pixels inside the box are computed, so the
    memory needed depends on the size of the box and not on the number of objects.

    Args:
        coefficients: (K,).
        prototypes: (K, h, w).
        box_xyxy: (4,) in pixels of the source image.
        place: where the source image is in the model input.
        image_hw: height and width of the source image.
        stride: pixels of the model input per prototype cell, in both directions.
    """
    left, top, right, bottom = box_xyxy.tolist()
    columns, rows = _pixels(left, right, image_hw[1]), _pixels(top, bottom, image_hw[0])
    if not len(columns) or not len(rows):
        return Mask(0, 0, np.zeros((0, 0), dtype=np.bool_))
    _, height, width = prototypes.shape
    x_low, x_high, x_share = _between(columns, place.scale, place.left, stride, width)
    y_low, y_high, y_share = _between(rows, place.scale, place.top, stride, height)
    y_first, x_first = int(y_low[0]), int(x_low[0])
    needed = prototypes[:, y_first : y_high[-1] + 1, x_first : x_high[-1] + 1].astype(np.float32)
    logits = np.tensordot(coefficients.astype(np.float32), needed, axes=1)
    y_low, y_high, x_low, x_high = y_low - y_first, y_high - y_first, x_low - x_first, x_high - x_first
    wide = logits[:, x_low] * (1 - x_share) + logits[:, x_high] * x_share
    bitmap = np.empty((len(rows), len(columns)), dtype=np.bool_)
    # In blocks of rows, because the logits of a large image would take many times the memory of its mask.
    block = max(1, _BLOCK_PIXELS // len(columns))
    for first in range(0, len(rows), block):
        here = slice(first, first + block)
        share = y_share[here, None]
        bitmap[here] = wide[y_low[here]] * (1 - share) + wide[y_high[here]] * share > 0
    return Mask(int(columns[0]), int(rows[0]), bitmap)


def _pixels(start: float, end: float, side: int) -> NDArray[np.int64]:
    """Return the pixels, ascending, whose centres are from `start` to before `end` and inside the image."""
    first, last = np.ceil(np.clip([start, end], 0, side) - 0.5).astype(np.int64)
    return np.arange(first, last)


def _between(
    pixels: NDArray[np.int64], scale: float, offset: int, stride: int, cells: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return for each pixel the two neighbouring prototype cells, and the share of the second one.

    Beyond the centre of the first or last cell, both are that cell.
    """
    at = (((pixels + 0.5) * scale + offset) / stride - 0.5).clip(0, cells - 1)
    low = np.floor(at).astype(np.int64)
    return low, np.minimum(low + 1, cells - 1), (at - low).astype(np.float32)
