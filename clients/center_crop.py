"""Scale an image until it covers the model input, and cut off what extends beyond the input.

Training and the service use the same rule. In the code, the canvas is the model input.
"""

import numpy as np
from numpy.typing import NDArray

from .reduced_jpeg import Reduced, resize

_LONGEST = 32  # limit of a resized side, in sides of the model input; resizing further could fill the memory


def center_crop(
    image: NDArray[np.uint8], input_hw: tuple[int, int], reduced: Reduced | None = None
) -> NDArray[np.uint8]:
    """Scale an (H, W, 3) image until it covers the model input, and return its centre, (1, *input_hw, 3).

    If an odd number of pixels is cut off, the extra pixel is cut from the right or the bottom.
    If the image was decoded at a smaller size, `reduced` says where its pixels lie in the whole image.
    """
    height, width = reduced.source_hw if reduced else (image.shape[0], image.shape[1])
    canvas_h, canvas_w = input_hw
    scale = max(canvas_h / height, canvas_w / width)
    resized_h, resized_w = round(height * scale), round(width * scale)
    if resized_h > _LONGEST * canvas_h or resized_w > _LONGEST * canvas_w:
        assert reduced is None  # decode_image never reduces such a long image
        return center_crop(_middle(image, scale, input_hw), input_hw)
    image = resize(image, (resized_h, resized_w), reduced)
    top, left = (resized_h - canvas_h) // 2, (resized_w - canvas_w) // 2
    return np.ascontiguousarray(image[None, top : top + canvas_h, left : left + canvas_w])


def _middle(image: NDArray[np.uint8], scale: float, input_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Cut out the centre, which scaling by `scale` makes at most _LONGEST / 2 times the model input."""
    (height, width), (canvas_h, canvas_w) = image.shape[:2], input_hw
    kept_h = min(height, max(1, int(_LONGEST / 2 * canvas_h / scale)))
    kept_w = min(width, max(1, int(_LONGEST / 2 * canvas_w / scale)))
    top, left = (height - kept_h) // 2, (width - kept_w) // 2
    return image[top : top + kept_h, left : left + kept_w]
