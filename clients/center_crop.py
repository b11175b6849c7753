"""Fits an image into the model's canvas by filling it: what is beyond the canvas is cut off.

The rule is that of training and of the service.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

_LONGEST = 32  # canvases in a row; a longer image could take all memory when it is resized


def center_crop(image: NDArray[np.uint8], input_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Scale (H, W, 3) until it covers the canvas and cut the centre; return (1, canvas_h, canvas_w, 3).

    Where an odd number of pixels is cut off, one more goes on the right and at the bottom.
    """
    (height, width), (canvas_h, canvas_w) = image.shape[:2], input_hw
    scale = max(canvas_h / height, canvas_w / width)
    resized_h, resized_w = round(height * scale), round(width * scale)
    if resized_h > _LONGEST * canvas_h or resized_w > _LONGEST * canvas_w:
        return center_crop(_middle(image, scale, input_hw), input_hw)
    if (resized_h, resized_w) != (height, width):
        image = np.asarray(
            cv2.resize(image, (resized_w, resized_h), interpolation=cv2.INTER_LINEAR), dtype=np.uint8
        )
    top, left = (resized_h - canvas_h) // 2, (resized_w - canvas_w) // 2
    return np.ascontiguousarray(image[None, top : top + canvas_h, left : left + canvas_w])


def _middle(image: NDArray[np.uint8], scale: float, input_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the part around the centre that becomes at most half as long as is too long."""
    (height, width), (canvas_h, canvas_w) = image.shape[:2], input_hw
    kept_h = min(height, max(1, int(_LONGEST / 2 * canvas_h / scale)))
    kept_w = min(width, max(1, int(_LONGEST / 2 * canvas_w / scale)))
    top, left = (height - kept_h) // 2, (width - kept_w) // 2
    return image[top : top + kept_h, left : left + kept_w]
