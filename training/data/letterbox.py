"""Scales an image and its boxes to fit the model's canvas, centred, without changing its shape."""

from dataclasses import dataclass, replace
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from training.config import PAD_VALUE
from training.data.sample import Sample


@dataclass(frozen=True)
class Letterbox:
    """Where a source image sits on the model's canvas: x_canvas = x_source * scale + left."""

    scale: float
    left: int
    top: int

    @classmethod
    def fit(cls, source_hw: tuple[int, int], input_hw: tuple[int, int]) -> Self:
        """Return the largest scale at which the source fits, and the offsets that centre it."""
        scale = fit_scale(source_hw, input_hw)
        height, width = scaled_hw(source_hw, scale)
        return cls(scale=scale, left=(input_hw[1] - width) // 2, top=(input_hw[0] - height) // 2)

    def to_canvas(self, boxes_xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map (N, 4) source pixels to canvas pixels."""
        return boxes_xyxy * np.float32(self.scale) + self._offset()

    def to_source(self, boxes_xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map (N, 4) canvas pixels back to source pixels. Does not clip."""
        return (boxes_xyxy - self._offset()) / np.float32(self.scale)

    def _offset(self) -> NDArray[np.float32]:
        return np.array([self.left, self.top, self.left, self.top], dtype=np.float32)


def fit_scale(source_hw: tuple[int, int], input_hw: tuple[int, int]) -> float:
    """Return the largest scale at which the source fits the canvas."""
    return min(input_hw[0] / source_hw[0], input_hw[1] / source_hw[1])


def scaled_hw(source_hw: tuple[int, int], scale: float) -> tuple[int, int]:
    """Return whole pixels after scaling; a very thin image keeps one pixel."""
    height, width = source_hw
    return max(1, round(height * scale)), max(1, round(width * scale))


def letterbox_image(
    image: NDArray[np.uint8], input_hw: tuple[int, int]
) -> tuple[NDArray[np.uint8], Letterbox]:
    """Put an image (h, w, 3) on a grey canvas (H, W, 3), and say where it sits."""
    placed = Letterbox.fit(image.shape[:2], input_hw)
    scaled = scale_image(image, placed.scale)
    height, width = scaled.shape[:2]
    canvas = np.full((*input_hw, 3), PAD_VALUE, dtype=np.uint8)
    canvas[placed.top : placed.top + height, placed.left : placed.left + width] = scaled
    return canvas, placed


def scale_image(image: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """Resample (h, w, 3) to its scaled_hw; the same array when that changes nothing."""
    height, width = scaled_hw(image.shape[:2], scale)
    if (height, width) == image.shape[:2]:
        return image
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)


def scale_sample(sample: Sample, input_hw: tuple[int, int]) -> Sample:
    """Return the sample at its letterbox scale, without padding. Doing it twice changes nothing more."""
    return scale_by(sample, fit_scale(sample.image.shape[:2], input_hw))


def scale_by(sample: Sample, scale: float) -> Sample:
    """Return the sample scaled, its boxes with it."""
    return replace(
        sample,
        image=scale_image(sample.image, scale),
        boxes_xyxy=sample.boxes_xyxy * np.float32(scale),
        ignored_xyxy=sample.ignored_xyxy * np.float32(scale),
    )


def letterbox_sample(sample: Sample, input_hw: tuple[int, int]) -> Sample:
    """Return the sample on a grey canvas of input_hw, its boxes with it."""
    canvas, placed = letterbox_image(sample.image, input_hw)
    return replace(
        sample,
        image=canvas,
        boxes_xyxy=placed.to_canvas(sample.boxes_xyxy),
        ignored_xyxy=placed.to_canvas(sample.ignored_xyxy),
    )
