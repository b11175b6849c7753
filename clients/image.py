"""Decode an image file to RGB pixels, or check an array of pixels."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .errors import BadImage

_RGB = 3


def as_pixels(image: bytes | NDArray[Any]) -> NDArray[np.uint8]:
    """Return the (H, W, 3) uint8 RGB pixels of an image file, or check and return an array of pixels.

    Args:
        image: the bytes of an image file, or (H, W, 3) uint8 RGB pixels. OpenCV reads the file: JPEG, PNG,
            WebP, BMP, TIFF or GIF. The EXIF orientation is applied, the alpha channel is dropped, and only
            the first frame of an animation is read.

    Raises:
        BadImage: the file is empty, truncated or damaged, or the array has another shape or type.
    """
    if isinstance(image, np.ndarray):
        return _checked(image)
    if not isinstance(image, bytes | bytearray | memoryview):
        raise BadImage(f"a {type(image).__name__} is not an image; give a file's bytes or an array of pixels")
    data = np.frombuffer(image, dtype=np.uint8)
    if not data.size:
        raise BadImage("there are no image bytes; give the whole file")
    try:
        pixels = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        raise BadImage("the image is damaged and cannot be decoded") from error
    if pixels is None:
        raise BadImage(
            "these bytes cannot be decoded: not an image, truncated, or damaged;"
            " give the bytes of a JPEG or PNG file"
        )
    return _checked(pixels)


def _checked(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != _RGB or not pixels.size:
        raise BadImage(
            f"pixels of shape {pixels.shape} and type {pixels.dtype} are not an image;"
            " give (height, width, 3) uint8 in RGB order"
        )
    return np.ascontiguousarray(pixels, dtype=np.uint8)  # OpenCV cannot resize a flipped NumPy view
