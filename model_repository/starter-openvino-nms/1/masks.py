"""Write the masks of objects as run lengths, with NumPy alone: this runs in Triton's own Python.

Source of the format: the COCO API, https://github.com/cocodataset/cocoapi (maskApi.c).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

# M objects · K prototypes · h, w of a prototype


def encode_masks(
    coefficients: Floats, prototypes: Floats, boxes_xyxy: Floats, input_hw: tuple[int, int], stride: int
) -> NDArray[np.object_]:
    """Return for each object the compressed COCO run lengths, (M,) bytes, of its mask in the network input.

    A pixel belongs to an object if its centre is inside the box and the logit there is above 0. The logit of
    a prototype cell is the sum of the prototypes, each times its coefficient; it is interpolated bilinearly
    between the centres of cells.

    Args:
        coefficients: (M, K).
        prototypes: (K, h, w).
        boxes_xyxy: (M, 4) in pixels of the network input.
        input_hw: height and width of the network input, and so of the masks.
        stride: pixels of the network input for each cell.
    """
    prototypes = prototypes.astype(np.float32)
    found = np.empty(len(coefficients), dtype=np.object_)
    for index, (row, (left, top, right, bottom)) in enumerate(zip(coefficients, boxes_xyxy, strict=True)):
        columns, x_shares = _cells(left, right, input_hw[1], prototypes.shape[2], stride)
        rows, y_shares = _cells(top, bottom, input_hw[0], prototypes.shape[1], stride)
        logits = np.tensordot(row, prototypes, axes=1) if len(rows) and len(columns) else prototypes[0]
        found[index] = run_lengths(y_shares @ logits @ x_shares.T > 0, rows, columns, input_hw)
    return found


def run_lengths(
    bitmap: NDArray[np.bool_], rows: NDArray[np.intp], columns: NDArray[np.intp], image_hw: tuple[int, int]
) -> bytes:
    """Return the compressed COCO run lengths of a mask at the size of its image.

    Args:
        bitmap: the part of the mask that may be set, (rows, columns).
        rows: consecutive rows of the image that the part covers.
        columns: the same for columns.
        image_hw: height and width of the image.
    """
    height, width = image_hw
    strip = np.zeros((len(columns), height), dtype=np.int8)  # column after column
    strip[:, rows] = bitmap.T
    changes = np.flatnonzero(np.diff(strip.reshape(-1), prepend=0, append=0))
    if len(changes):
        changes += columns[0] * height
    lengths = np.diff(changes, prepend=0, append=height * width)
    if lengths[-1] == 0:  # the mask's last run ends with the image
        lengths = lengths[:-1]
    return _compressed(lengths)


def _cells(start: float, end: float, side: int, cells: int, stride: int) -> tuple[NDArray[np.intp], Floats]:
    """Return the pixels with centres in start..end, and the share of each cell in each, (pixels, cells)."""
    first, last = np.ceil(np.clip([start, end], 0, side) - 0.5).astype(np.intp)
    pixels = np.arange(first, last)
    at = ((pixels + 0.5) / stride - 0.5).clip(0, cells - 1)
    shares = (1 - np.abs(at[:, None] - np.arange(cells))).clip(0)
    return pixels, shares.astype(np.float32)


def _compressed(lengths: NDArray[np.intp]) -> bytes:
    """Return run lengths as text: 5 bits in each character, and a sixth bit if the number goes on.

    From the fourth length on, the difference to the length two places before is written.
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
