"""Builds image files that Pillow cannot write: TIFF pages with chosen tags, and PNG with further chunks."""

import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.builders import image_bytes

Tags = dict[int, int]
SHORT, LONG = 3, 4


def tiff_bytes(*pages: tuple[NDArray[Any], Tags], bits: int | None = None, sample_format: int = 1) -> bytes:
    """Return grey pixels (H, W) as the pages of an uncompressed little-endian TIFF.

    Args:
        pages: pixels and further tags of each page; a tag's value is one number.
        bits: bits per value, packed, most significant first; None: as the pixels' type.
        sample_format: 1 unsigned, 2 signed, 3 floating-point.
    """
    data = b"II*\x00" + struct.pack("<I", 8)
    for index, (pixels, further) in enumerate(pages):
        body = pixels.tobytes() if bits is None else b"".join(_packed(row, bits) for row in pixels)
        height, width = pixels.shape
        depth = bits or pixels.dtype.itemsize * 8
        tags = {256: width, 257: height, 258: depth, 259: 1, 262: 1, 277: 1, 278: height, 279: len(body)}
        tags |= {339: sample_format} | further
        start = len(data) + 2 + 12 * (len(tags) + 1) + 4
        tags[273] = start
        rows = b"".join(struct.pack("<HHII", tag, LONG, 1, value) for tag, value in sorted(tags.items()))
        following = 0 if index == len(pages) - 1 else start + len(body)
        data += struct.pack("<H", len(tags)) + rows + struct.pack("<I", following) + body
    return data


def _packed(row: NDArray[Any], bits: int) -> bytes:
    text = "".join(f"{value:0{bits}b}" for value in row.tolist())
    return int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8), "big")


def png_with_chunk(pixels: NDArray[Any], name: bytes, content: Sequence[int]) -> bytes:
    """Return pixels as PNG with one more chunk behind its header."""
    png, body = image_bytes(pixels), name + bytes(content)
    chunk = struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))
    return png[:33] + chunk + png[33:]


def deep(*values: int) -> NDArray[np.uint16]:
    """Return 16-bit grey values as a 4 x 4 image whose first row begins with them; the others are 0."""
    pixels = np.zeros((4, 4), np.uint16)
    pixels[0, : len(values)] = values
    return pixels
