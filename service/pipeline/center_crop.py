"""Scale an image to cover the model input (canvas), and cut off what extends beyond the input."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from service.pipeline.reduced_jpeg import Reduced, resize

_LONGEST = 32  # limit of a resized side, in sides of the model input; resizing further could fill the memory


@dataclass(frozen=True)
class CenterCrop:
    """The position of the model input (canvas) in the scaled image: x_canvas = x_source * scale - left."""

    scale: float
    left: int
    top: int

    @classmethod
    def fit(cls, source_hw: tuple[int, int], input_hw: tuple[int, int]) -> Self:
        """Return the crop that scales an image to cover the model input, and keeps the centre.

        If an odd number of columns or rows must go, one more is cut off at the right (or bottom) than at the
        left (or top).
        """
        (height, width), (canvas_h, canvas_w) = source_hw, input_hw
        scale = max(canvas_h / height, canvas_w / width)
        resized_h, resized_w = _resized_hw(source_hw, scale)
        return cls(scale=scale, left=(resized_w - canvas_w) // 2, top=(resized_h - canvas_h) // 2)

    def apply(
        self, image: NDArray[np.uint8], input_hw: tuple[int, int], reduced: Reduced | None = None
    ) -> NDArray[np.uint8]:
        """Resize and crop an (H, W, 3) image; return the model input, (1, canvas_h, canvas_w, 3).

        If the image was decoded at a smaller size, `reduced` says where its pixels lie in the whole image.
        """
        canvas_h, canvas_w = input_hw
        source_hw = reduced.source_hw if reduced else (image.shape[0], image.shape[1])
        height, width = _resized_hw(source_hw, self.scale)
        if height > _LONGEST * canvas_h or width > _LONGEST * canvas_w:
            assert reduced is None  # decode_image reduces no image that is so long
            middle = _middle(image, self.scale, input_hw)
            return CenterCrop.fit((middle.shape[0], middle.shape[1]), input_hw).apply(middle, input_hw)
        image = resize(image, (height, width), reduced)
        return np.ascontiguousarray(
            image[None, self.top : self.top + canvas_h, self.left : self.left + canvas_w]
        )


def _middle(image: NDArray[np.uint8], scale: float, input_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the middle part of a very long image, because resizing all of it could exhaust the memory.

    The height of the resized part is at most _LONGEST / 2 times the height of the model input; the same holds
    for the width.
    """
    (height, width), (canvas_h, canvas_w) = image.shape[:2], input_hw
    kept_h = min(height, max(1, int(_LONGEST / 2 * canvas_h / scale)))
    kept_w = min(width, max(1, int(_LONGEST / 2 * canvas_w / scale)))
    top, left = (height - kept_h) // 2, (width - kept_w) // 2
    return image[top : top + kept_h, left : left + kept_w]


def _resized_hw(source_hw: tuple[int, int], scale: float) -> tuple[int, int]:
    return max(1, round(source_hw[0] * scale)), max(1, round(source_hw[1] * scale))
