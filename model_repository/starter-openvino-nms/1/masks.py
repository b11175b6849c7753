"""Encode masks of objects as run lengths; import only NumPy, because Triton's own Python runs this.

Source of the format: the COCO API, https://github.com/cocodataset/cocoapi (maskApi.c).
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]

BLOCK = 1 << 20  # logits that are computed at once

# M objects · K prototypes · h, w of a prototype · R runs of pixels


class Place(NamedTuple):
    """The position of an image in the model input: x_input = x_image * scale + left."""

    scale: float
    left: int
    top: int


class Runs(NamedTuple):
    """The pixels of a mask as runs: unbroken lines in one column, sorted by column, then by row."""

    columns: Ints  # (R,)
    starts: Ints  # (R,) first row
    ends: Ints  # (R,) the row after the last one


def encode_masks(
    coefficients: Floats,
    prototypes: Floats,
    boxes_xyxy: Floats,
    input_hw: tuple[int, int],
    stride: int,
    image_hw: tuple[int, int],
) -> NDArray[np.object_]:
    """Return the compressed COCO run lengths of each object's mask in the image, (M,) bytes.

    A pixel belongs to an object if its centre is inside the box and the object's logit at its centre is above
    0. The logit of a prototype cell is the sum of the prototypes, weighted by the coefficients. Between the
    centres of cells, the logit is interpolated bilinearly.

    Args:
        coefficients: (M, K).
        prototypes: (K, h, w).
        boxes_xyxy: (M, 4) in pixels of the model input.
        input_hw: height and width of the model input.
        stride: pixels of the model input for each prototype cell, in both directions.
        image_hw: height and width of the image, and so of the masks. If they are those of `input_hw`, the
            masks are for the model input itself.
    """
    place = place_of(image_hw, input_hw)
    height, width = image_hw
    offset = np.array([place.left, place.top] * 2, dtype=np.float32)
    boxes = ((boxes_xyxy - offset) / np.float32(place.scale)).clip(0, [width, height] * 2)
    found = np.empty(len(coefficients), dtype=np.object_)
    for index, (row, box) in enumerate(zip(coefficients, boxes.astype(np.float32).tolist(), strict=True)):
        found[index] = run_lengths(_mask(row, prototypes, box, place, image_hw, stride), image_hw)
    return found


def place_of(image_hw: tuple[int, int], input_hw: tuple[int, int]) -> Place:
    """Return the position of an image in the model input: scaled to fit into the input, and centred."""
    scale = min(input_hw[0] / image_hw[0], input_hw[1] / image_hw[1])
    top, left = (
        (room - max(1, round(side * scale))) // 2 for side, room in zip(image_hw, input_hw, strict=True)
    )
    return Place(scale, left, top)


def run_lengths(mask: Runs, image_hw: tuple[int, int]) -> bytes:
    """Return the compressed COCO run lengths of a mask at the size of its image."""
    height, width = image_hw
    starts, ends = mask.columns * height + mask.starts, mask.columns * height + mask.ends
    # A run that reaches the bottom of a column goes on if the next column begins with one.
    apart = starts[1:] != ends[:-1]
    starts, ends = starts[np.append(True, apart)[: len(starts)]], ends[np.append(apart, True)[: len(ends)]]
    changes = np.stack([starts, ends], axis=1).reshape(-1)
    lengths = np.diff(changes, prepend=0, append=height * width)
    if lengths[-1] == 0:  # the mask's last run ends with the image
        lengths = lengths[:-1]
    return _compressed(lengths)


def _mask(
    coefficients: Floats,
    prototypes: Floats,
    box_xyxy: list[float],
    place: Place,
    image_hw: tuple[int, int],
    stride: int,
) -> Runs:
    left, top, right, bottom = box_xyxy
    _, height, width = prototypes.shape
    columns, rows = _pixels(left, right, image_hw[1]), _pixels(top, bottom, image_hw[0])
    if not len(columns) or not len(rows):
        return Runs(*np.zeros((3, 0), dtype=np.int64))
    x = (((columns + 0.5) * place.scale + place.left) / stride - 0.5).clip(0, width - 1)  # in cells
    y = (((rows + 0.5) * place.scale + place.top) / stride - 0.5).clip(0, height - 1)
    x_first, y_first = int(x[0]), int(y[0])
    needed = prototypes[:, y_first : int(y[-1]) + 2, x_first : int(x[-1]) + 2].astype(np.float32)
    logits = (coefficients.astype(np.float32) @ needed.reshape(len(needed), -1)).reshape(needed.shape[1:])
    x, y = x - x_first, y - y_first
    block = max(1, BLOCK // len(logits))
    parts = [(first, _runs(logits, x[first : first + block], y)) for first in range(0, len(x), block)]
    return Runs(
        np.concatenate([part.columns + first for first, part in parts]) + columns[0],
        np.concatenate([part.starts for _, part in parts]) + rows[0],
        np.concatenate([part.ends for _, part in parts]) + rows[0],
    )


def _pixels(start: float, end: float, side: int) -> Ints:
    """Return, ascending, the pixels whose centres are at or after `start` and before `end`."""
    first, last = (math.ceil(min(side, max(0, edge)) - 0.5) for edge in (start, end))
    return np.arange(first, last)


def _runs(logits: Floats, x: NDArray[np.float64], y: NDArray[np.float64]) -> Runs:
    """Return the runs of pixels whose logit is above 0, as indices into `x` and `y`.

    Down a column, the logit is linear between the centres of two cells, so it changes its sign there at most
    once. The function calculates the row of this change, so time and memory hardly depend on the number of
    rows.

    Args:
        logits: (h, w) the logit of each prototype cell.
        x: positions of the columns, in cells from the centre of the first cell, ascending.
        y: positions of the rows, in cells from the centre of the first cell, ascending.
    """
    cells, low = np.ascontiguousarray(logits.T), x.astype(np.int64)
    share = (x - low).astype(np.float32)[:, None]
    wide = cells[low] * (1 - share) + cells[np.minimum(low + 1, len(cells) - 1)] * share  # (columns, h)
    is_set = np.pad(wide > 0, ((0, 0), (1, 1)))
    column, cell = np.nonzero(is_set[:, 1:] != is_set[:, :-1])  # the first cell behind each change
    row = np.where(cell == 0, 0, len(y))  # changes at the edges of the box
    between = np.flatnonzero((cell > 0) & (cell < len(logits)))
    at, behind = column[between], cell[between]
    upper, lower = wide[at, behind - 1].astype(np.float64), wide[at, behind]
    zero = behind - 1 + upper / (upper - lower)
    row[between] = np.where(lower > 0, np.searchsorted(y, zero, "right"), np.searchsorted(y, zero))
    # Where cells are smaller than pixels, changes may be at one row. Two of them cancel each other out.
    places, counts = np.unique(column * (len(y) + 1) + row, return_counts=True)
    column, row = np.divmod(places[counts % 2 == 1], len(y) + 1)
    return Runs(column[::2], row[::2], row[1::2])


def _compressed(lengths: Ints) -> bytes:
    """Return run lengths as text: 5 bits in each character, and a sixth bit if the number goes on.

    From the fourth length on, the text holds the difference from the length two places earlier.
    """
    rest = lengths.copy()
    rest[3:] -= lengths[1:-2]
    goes_on = np.ones(len(rest), dtype=np.bool_)
    digits: list[NDArray[np.uint8]] = []  # of every number, the lowest first; 0 after a number's end
    while goes_on.any():
        digit, rest = rest & 31, rest >> 5
        more = goes_on & np.where(digit & 16, rest != -1, rest != 0)
        digits.append(np.where(goes_on, digit + 32 * more + 48, 0).astype(np.uint8))
        goes_on = more
    text = np.stack(digits, axis=1).reshape(-1)
    return text[text > 0].tobytes()
