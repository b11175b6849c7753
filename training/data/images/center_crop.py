"""Scales an image to cover the model input, and cuts out its centre."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from training.data.images.letterbox import scale_image, scaled_hw
from training.data.images.reduced_jpeg import Reduced

LONGEST = 32  # sides of the model input; longer scaled images could exhaust memory, so they are cropped first


@dataclass(frozen=True)
class CenterCrop:
    """The scale and crop that turn a source image into the model input.

    A point of the source image lies, in the model input, at x_input = x_source * scale - left and
    y_input = y_source * scale - top.
    """

    scale: float
    left: int
    top: int

    @classmethod
    def fit(cls, source_hw: tuple[int, int], input_hw: tuple[int, int]) -> Self:
        """Return the crop that scales a source image to just cover the model input, and keeps its centre."""
        scale = max(input_hw[0] / source_hw[0], input_hw[1] / source_hw[1])
        height, width = scaled_hw(source_hw, scale)
        return cls(scale=scale, left=(width - input_hw[1]) // 2, top=(height - input_hw[0]) // 2)


def center_crop_image(
    image: NDArray[np.uint8], input_hw: tuple[int, int], reduced: Reduced | None = None
) -> NDArray[np.uint8]:
    """Return the centre of an image (h, w, 3), scaled to fill the model input (H, W, 3).

    If `image` holds the reduced pixels of a larger image, `reduced` says where they lie in it.
    """
    source_hw = reduced.source_hw if reduced else (image.shape[0], image.shape[1])
    placed = CenterCrop.fit(source_hw, input_hw)
    height, width = scaled_hw(source_hw, placed.scale)
    if height > LONGEST * input_hw[0] or width > LONGEST * input_hw[1]:
        assert reduced is None  # decode_image reduces no image that is so long
        return center_crop_image(_middle(image, placed.scale, input_hw), input_hw)
    scaled = scale_image(image, placed.scale, reduced)
    return scaled[placed.top : placed.top + input_hw[0], placed.left : placed.left + input_hw[1]]


def _middle(image: NDArray[np.uint8], scale: float, input_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Cut off the ends of a very long image, so that scaling the rest cannot exhaust memory.

    The scaled result is at most LONGEST / 2 times as high and as wide as the model input.
    """
    sizes = zip(image.shape[:2], input_hw, strict=True)
    kept_h, kept_w = (min(size, max(1, int(LONGEST / 2 * side / scale))) for size, side in sizes)
    top, left = (image.shape[0] - kept_h) // 2, (image.shape[1] - kept_w) // 2
    return image[top : top + kept_h, left : left + kept_w]
