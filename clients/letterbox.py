"""Fit an image into the model input, and map boxes and points from the model input back to it.

Training and the service place images in the same way, and tests check this. In the code, the canvas is the
model input.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from .reduced_jpeg import Reduced, resize


@dataclass(frozen=True)
class Letterbox:
    """The position of a source image in the model input (canvas): x_canvas = x_source * scale + left."""

    scale: float
    left: int
    top: int

    @classmethod
    def fit(cls, source_hw: tuple[int, int], input_hw: tuple[int, int]) -> Self:
        """Return the letterbox that scales an image to fit into the model input, and centres the image.

        If the padding is an odd number of pixels, the extra pixel is at the right or the bottom.
        """
        (height, width), (canvas_h, canvas_w) = source_hw, input_hw
        scale = min(canvas_h / height, canvas_w / width)
        resized_h, resized_w = _resized_hw(source_hw, scale)
        return cls(scale=scale, left=(canvas_w - resized_w) // 2, top=(canvas_h - resized_h) // 2)

    def apply(
        self,
        image: NDArray[np.uint8],
        input_hw: tuple[int, int],
        pad_value: int,
        reduced: Reduced | None = None,
    ) -> NDArray[np.uint8]:
        """Resize and pad an (H, W, 3) image; return the model input, (1, canvas_h, canvas_w, 3).

        If the image was decoded at a smaller size, `reduced` says where its pixels lie in the whole
        image.
        """
        source_hw = reduced.source_hw if reduced else (image.shape[0], image.shape[1])
        height, width = _resized_hw(source_hw, self.scale)
        canvas = np.full((1, *input_hw, 3), pad_value, dtype=np.uint8)
        inside = canvas[0, self.top : self.top + height, self.left : self.left + width]
        inside[:] = resize(image, (height, width), reduced)
        return canvas

    def to_source(self, boxes_xyxy: NDArray[np.float32], source_hw: tuple[int, int]) -> NDArray[np.float32]:
        """Map (N, 4) boxes from model input pixels to source image pixels, and clip them to the image."""
        height, width = source_hw
        limits = np.array([width, height, width, height], dtype=np.float32)
        corners = self.points_to_source(boxes_xyxy.reshape(-1, 2, 2))
        boxes: NDArray[np.float32] = np.clip(corners.reshape(-1, 4), 0, limits)
        return boxes

    def points_to_source(self, points_xy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map points (..., 2) from model input pixels to source image pixels, without clipping."""
        return (points_xy - np.array([self.left, self.top], dtype=np.float32)) / np.float32(self.scale)


def _resized_hw(source_hw: tuple[int, int], scale: float) -> tuple[int, int]:
    # No side is rounded to 0, so that an image one pixel wide does not vanish.
    return max(1, round(source_hw[0] * scale)), max(1, round(source_hw[1] * scale))
