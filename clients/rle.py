"""Read masks of an answer: COCO run-length encoding (RLE), or polygons along the edges of pixels.

Source: the mask format of the COCO API, https://github.com/cocodataset/cocoapi (maskApi.c).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# H, W of the source image

_BITS, _MORE, _SIGN = 5, 0x20, 0x10  # of a character: payload, "another one follows", sign of the number
_MOST_CHARACTERS = 12  # of one number


def decode_rle(counts: str, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the mask that the compressed COCO RLE `counts` describes, (H, W).

    Args:
        counts: run lengths of unset and set pixels in turns, column by column, as characters.
        size: height and width of the mask.

    Raises:
        ValueError: the text is no RLE, or its runs do not fill the mask.
    """
    height, width = size
    lengths = run_lengths(counts, size)
    is_set = np.arange(len(lengths)) % 2 == 1
    return np.repeat(is_set, lengths).reshape(width, height).T


def fill_polygons(rings: Sequence[Sequence[Sequence[float]]], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the mask (H, W) of the pixels whose centres are inside an odd number of rings.

    Args:
        rings: closed outlines, each a list of x, y in pixels; pixel 0 covers 0 to 1.
        size: height and width of the mask.

    Raises:
        ValueError: a ring is not a list of pairs of finite numbers.
    """
    height, width = size
    crossings = np.zeros((height, width + 1), dtype=np.int32)
    for ring in rings:
        points = np.asarray(ring, dtype=np.float64)
        if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
            raise ValueError("a polygon must be a list of [x, y]")
        for start, end in zip(points, np.roll(points, -1, axis=0), strict=True):
            (x1, y1), (x2, y2) = sorted((start.tolist(), end.tolist()), key=lambda point: point[1])
            rows = np.arange(*np.ceil(np.clip([y1, y2], 0, height) - 0.5).astype(int))
            if len(rows):
                at = x1 + (rows + 0.5 - y1) / (y2 - y1) * (x2 - x1)
                # The row's pixels from this one on are on the other side of the edge.
                crossings[rows, np.ceil(np.clip(at, 0, width) - 0.5).astype(int)] += 1
    return np.asarray(crossings.cumsum(axis=1)[:, :width] % 2 == 1)


def run_lengths(counts: str, size: tuple[int, int]) -> NDArray[np.int64]:
    """Return the lengths (R,) of unset and set pixels in turns that compressed COCO RLE describes.

    Args:
        counts: run lengths column by column, as characters.
        size: height and width of the mask.

    Raises:
        ValueError: the text is no RLE, or its runs do not fill the mask.
    """
    codes = np.frombuffer(counts.encode("latin-1", errors="replace"), dtype=np.uint8).astype(np.int64) - 48
    if len(codes) and not (codes.min() >= 0 and codes.max() < 2 * _MORE and codes[-1] < _MORE):
        raise ValueError("the mask is not a run-length encoding of the COCO API")
    ends = np.flatnonzero(codes < _MORE)  # the last character of each number
    starts = np.append(0, ends[:-1] + 1)[: len(ends)]
    if len(ends) and (ends - starts).max() >= _MOST_CHARACTERS:
        raise ValueError("the mask holds a run that is too long")
    place = np.arange(len(codes)) - np.repeat(starts, ends - starts + 1)
    values = np.add.reduceat((codes & (2**_BITS - 1)) << (_BITS * place), starts) if len(starts) else codes
    negative = codes[ends] & _SIGN > 0
    values = values - np.where(negative, np.int64(1) << (_BITS * (ends - starts + 1)), 0)
    # From the fourth number on, each is the difference to the run two places before.
    for parity in (1, 2):
        values[parity::2] = values[parity::2].cumsum()
    if (values < 0).any() or values.sum() != size[0] * size[1]:
        raise ValueError(f"the runs of the mask do not fill {size[1]} x {size[0]} pixels")
    return values
