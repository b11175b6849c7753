"""Decode an image file to RGB pixels, or check an array of pixels."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import BadImage
from .image_decoding import Decoded, ImageFileError, decode_image
from .reduced_jpeg import Fit

_RGB = 3


def as_pixels(image: bytes | NDArray[Any]) -> NDArray[np.uint8]:
    """Return the (H, W, 3) uint8 RGB pixels of an image file, or check and return an array of pixels.

    read_image explains the argument and the error.
    """
    return read_image(image).pixels


def read_image(image: bytes | NDArray[Any], fit: Fit | None = None) -> Decoded:
    """Return the pixels and the size of the image in a file or an array.

    Args:
        image: the bytes of an image file, or (H, W, 3) uint8 RGB pixels. The client decodes a
            file in the same way as the service: it turns the image upright, and keeps the upper 8 bits of
            each value. A Python warning says which part of a file is not used, for example lower bits,
            transparency or pages after the first.
        fit: model input that the image will be fitted into. A JPEG that is much larger is decoded to fewer
            pixels. None: all pixels are needed.

    Raises:
        BadImage: the file is empty, truncated or damaged, the service does not accept its format, or the
            array is not (H, W, 3) uint8.
    """
    if isinstance(image, np.ndarray):
        return Decoded(_checked(image), 1, ())
    if not isinstance(image, bytes | bytearray | memoryview):
        raise BadImage(f"a {type(image).__name__} is not an image; give a file's bytes or an array of pixels")
    try:
        decoded = decode_image(bytes(image), fit=fit)
    except ImageFileError as error:
        raise BadImage(str(error)) from error
    for note in decoded.notes:
        warnings.warn(str(note), stacklevel=2)
    return decoded


def _checked(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != _RGB or not pixels.size:
        raise BadImage(
            f"pixels of shape {pixels.shape} and type {pixels.dtype} are not an image;"
            " give (height, width, 3) uint8 in RGB order"
        )
    return np.ascontiguousarray(pixels, dtype=np.uint8)  # OpenCV cannot resize a flipped NumPy view
