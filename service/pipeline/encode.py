"""Encode images as JPEG or PNG, for programs that cannot show other formats."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

PREVIEW_PX = 2048
JPEG_MAX_PX = 65_500
"""The longest side, in pixels, of an image that libjpeg can write."""
_JPEG_QUALITY = 90


def to_preview(image: NDArray[np.uint8]) -> bytes:
    """Return an image (H, W, 3) RGB as JPEG, reduced until its longer side has at most PREVIEW_PX pixels."""
    height, width = image.shape[:2]
    scale = min(1.0, PREVIEW_PX / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = image if scale == 1.0 else cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return _encode(".jpg", small[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])


def to_jpeg(image: NDArray[np.uint8]) -> bytes:
    """Return an image as JPEG at its own size, without metadata; this turns the pixels of `image` into BGR.

    Args:
        image: (H, W, 3) RGB, contiguous, with at most JPEG_MAX_PX pixels on its longer side. The function
            changes it in place, because a copy of a large image would double the memory.
    """
    for row in image:
        row[:] = row[:, ::-1]
    return _encode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])


def to_png(image: NDArray[np.uint8]) -> bytes:
    """Return an image (H, W, 3) RGB as PNG."""
    return _encode(".png", image[:, :, ::-1], [])


def _encode(suffix: str, image: NDArray[Any], options: list[int]) -> bytes:
    done, data = cv2.imencode(suffix, image, options)
    assert done  # an array of this kind can always be encoded
    return data.tobytes()
