"""Encode masks for answers: as COCO run-length encoding (RLE), or as polygons along the edges of pixels.

Source: the mask format of the COCO API, https://github.com/cocodataset/cocoapi (maskApi.c).
"""

import numpy as np
from numpy.typing import NDArray

from service.pipeline.masks import Ints, Mask

_BITS, _MORE, _SIGN = 5, 0x20, 0x10  # of a character: payload, "another one follows", sign of the number


def encode_rle(mask: Mask, image_hw: tuple[int, int]) -> str:
    """Return the compressed COCO RLE `counts` of a mask at the size of its image."""
    return _compress(_run_lengths(mask, image_hw))


def decode_rle(counts: str, image_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the mask (H, W) that encode_rle wrote as `counts`, at the size `image_hw` of its image."""
    lengths: list[int] = []
    number = shift = 0
    for byte in counts.encode("ascii"):
        bits = byte - 48
        number |= (bits & (2**_BITS - 1)) << shift
        shift += _BITS
        if not bits & _MORE:
            number -= (1 << shift) if bits & _SIGN else 0
            lengths.append(number + (lengths[-2] if len(lengths) > 2 else 0))
            number = shift = 0
    height, width = image_hw
    inside = np.arange(len(lengths)) % 2 == 1
    mask: NDArray[np.bool_] = np.repeat(inside, lengths).reshape(width, height).T
    return mask


def polygons(mask: Mask) -> list[NDArray[np.int32]]:
    """Return the outlines of a mask along the edges of pixels, as closed rings (points, 2) of x, y.

    A pixel belongs to the mask if its centre is inside an odd number of rings, so the outline of a hole is a
    ring, too. Every point is a corner: horizontal and vertical edges alternate. Seen on the image, the ring
    around a part of the mask runs counterclockwise, and the ring around a hole runs clockwise. Parts that
    touch only at one point have separate rings.
    """
    corners = _horizontal_edges(mask)
    # The corners on a vertical line are the ends of its edges, in pairs from the top. Where two parts touch,
    # two corners are at one point: that of the upper part comes first, as its end, so it ends the edge above.
    order = np.lexsort((corners[:, 1], corners[:, 0]))
    across = np.empty(len(corners), dtype=np.int64)
    across[order[::2]], across[order[1::2]] = order[1::2], order[::2]
    return [corners[ring] for ring in _walks(across.tolist())]


def _horizontal_edges(mask: Mask) -> NDArray[np.int32]:
    """Return the end points x, y of the horizontal edges, two rows for each edge; lower edges come first."""
    columns, rows = np.tile(mask.columns, 2), np.concatenate([mask.ends, mask.starts])
    is_upper = np.arange(len(rows)) >= len(mask.ends)
    order = np.lexsort((columns, rows, is_upper))
    columns, rows, is_upper = columns[order], rows[order], is_upper[order]
    goes_on = (np.diff(columns) == 1) & (np.diff(rows) == 0) & (is_upper[1:] == is_upper[:-1])
    first, last = np.append(True, ~goes_on)[: len(rows)], np.append(~goes_on, True)[: len(rows)]
    ends = np.array([[columns[first], columns[last] + 1], [rows[first], rows[last]]])
    return np.ascontiguousarray(ends.transpose(2, 1, 0).reshape(-1, 2), dtype=np.int32)


def _walks(across: list[int]) -> list[list[int]]:
    """Follow the edges from corner to corner, and return the corners of each closed ring, in order.

    Each corner `i` has two edges: one to corner `i ^ 1`, and one to corner `across[i]`."""
    rings: list[list[int]] = []
    passed = bytearray(len(across))
    for begin in range(0, len(across), 2):
        ring: list[int] = []
        at = begin
        while not passed[at]:
            passed[at] = passed[at ^ 1] = 1
            ring += (at, at ^ 1)
            at = across[at ^ 1]
        if ring:
            rings.append(ring)
    return rings


def _run_lengths(mask: Mask, image_hw: tuple[int, int]) -> Ints:
    """Return the lengths of alternating runs of unset and set pixels, unset first, column by column."""
    height, width = image_hw
    starts, ends = mask.columns * height + mask.starts, mask.columns * height + mask.ends
    # A run that ends at the bottom of a column goes on if the next column begins with one.
    parted = np.ones(len(starts) + 1, dtype=np.bool_)
    parted[1:-1] = starts[1:] != ends[:-1]
    starts, ends = starts[parted[:-1]], ends[parted[1:]]
    bounds = np.zeros(2 * len(starts) + 2, dtype=np.int64)
    bounds[1:-1:2], bounds[2:-1:2], bounds[-1] = starts, ends, height * width
    lengths = np.diff(bounds)
    return lengths[:-1] if lengths[-1] == 0 else lengths


def _compress(lengths: Ints) -> str:
    """Return run lengths as text.

    From the fourth run on, the text holds the difference between the run's length and the length two places
    earlier. Each character holds 5 bits of a number, lowest bits first, and a sixth bit that says whether
    more bits of the number follow.
    """
    numbers = lengths.copy()
    numbers[3:] -= lengths[1:-2]
    size = np.where(numbers < 0, ~numbers, numbers)[:, None]
    bits = _BITS * np.arange(1, 2 + int(size.max(initial=0)).bit_length() // _BITS)
    goes_on = size >= 1 << (bits - 1)  # (numbers, characters)
    characters = (numbers[:, None] >> (bits - _BITS) & (2**_BITS - 1)) + np.where(goes_on, 48 + _MORE, 48)
    written = np.ones_like(goes_on)
    written[:, 1:] = goes_on[:, :-1]
    text: bytes = characters[written].astype(np.uint8).tobytes()
    return text.decode("ascii")
