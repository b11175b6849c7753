"""Encode masks for answers: as COCO run-length encoding (RLE), or as polygons along the edges of pixels.

Source: the mask format of the COCO API, https://github.com/cocodataset/cocoapi (maskApi.c).
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from service.pipeline.masks import Mask

Ring = list[list[float]]

_BITS, _MORE, _SIGN = 5, 0x20, 0x10  # of a character: payload, "another one follows", sign of the number
_MOST_CHARACTERS = 13  # of one number: enough for 64 bits


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


def polygons(mask: Mask) -> list[Ring]:
    """Return the outlines of a mask as rings of x, y along the edges of pixels, in pixels of the image.

    A pixel belongs to the mask if its centre is inside an odd number of rings; so a hole is a ring, too.
    """
    # In an enlarged bitmap, each corner of the outline is next to a pixel of its own, which OpenCV returns.
    twice = mask.bitmap.astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    rings, _ = cv2.findContours(twice, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    corners = ((ring[:, 0].astype(np.int64) + 1) // 2 for ring in rings)
    offset = [mask.left, mask.top]
    return [(_only_corners(points) + offset).astype(float).tolist() for points in corners]


def _run_lengths(mask: Mask, image_hw: tuple[int, int]) -> NDArray[np.int64]:
    """Return the lengths of runs of unset and set pixels in turns, unset first, column by column."""
    height, width = image_hw
    padded = np.zeros((mask.bitmap.shape[1], mask.bitmap.shape[0] + 2), dtype=np.int8)
    padded[:, 1:-1] = mask.bitmap.T
    column, row = np.nonzero(np.diff(padded, axis=1))  # starts and ends of runs, in turns
    places = (column + mask.left) * height + row + mask.top
    # A run that ends at the bottom of a column goes on if the next column begins with one.
    starts, ends = places[::2], places[1::2]
    parted = starts[1:] != ends[:-1]
    starts, ends = starts[np.append(True, parted)[: len(starts)]], ends[np.append(parted, True)[: len(ends)]]
    bounds = np.stack([starts, ends], axis=1).reshape(-1)
    lengths = np.diff(bounds, prepend=0, append=height * width)
    return lengths[:-1] if lengths[-1] == 0 else lengths


def _compress(lengths: NDArray[np.int64]) -> str:
    """Return run lengths as text.

    From the fourth run on, only the difference to the run two places before is written. A character holds
    5 bits of a number, the lowest first, and 1 bit that says whether more follow.
    """
    rest = lengths.copy()
    rest[3:] -= lengths[1:-2]
    characters = np.zeros((len(rest), _MOST_CHARACTERS), dtype=np.uint8)
    written = np.zeros(characters.shape, dtype=np.bool_)
    going = np.ones(len(rest), dtype=np.bool_)
    for place in range(_MOST_CHARACTERS):
        written[:, place] = going
        bits = rest & (2**_BITS - 1)
        rest = rest >> _BITS
        going = going & np.where(bits & _SIGN, rest != -1, rest != 0)
        characters[:, place] = bits + 48 + np.where(going, _MORE, 0)
        if not going.any():
            break
    return characters[written].tobytes().decode("ascii")


def _only_corners(points: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the points of a closed ring (K, 2) at which it turns."""
    points = points[(points != np.roll(points, 1, axis=0)).any(axis=1)]
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    turns = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    back = (before * after).sum(axis=1) < 0  # where a ring meets itself
    return np.asarray(points[turns | back])
