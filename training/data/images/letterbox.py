"""Scales an image and its boxes to fit into the model input, centred, keeping the aspect ratio."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from training.config import PAD_VALUE
from training.data.augmentation.shapes import Shapes
from training.data.images.reduced_jpeg import Reduced, resize
from training.data.sample import Sample


@dataclass(frozen=True)
class Letterbox:
    """Where a source image is in the model input: x_input = x_source * scale + left, and y with `top`."""

    scale: float
    left: int
    top: int

    @classmethod
    def fit(cls, source_hw: tuple[int, int], input_hw: tuple[int, int]) -> Self:
        """Return the Letterbox that centres a source image in the model input, as large as fits."""
        scale = min(input_hw[0] / source_hw[0], input_hw[1] / source_hw[1])
        height, width = scaled_hw(source_hw, scale)
        return cls(scale=scale, left=(input_hw[1] - width) // 2, top=(input_hw[0] - height) // 2)

    def to_source(self, boxes_xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return boxes (N, 4), given in pixels of the model input, in source pixels; nothing is clipped."""
        offset = np.array([self.left, self.top, self.left, self.top], dtype=np.float32)
        return (boxes_xyxy - offset) / np.float32(self.scale)

    def points_to_source(self, points_xy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return points (..., 2), given in pixels of the model input, in source pixels."""
        return (points_xy - np.array([self.left, self.top], dtype=np.float32)) / np.float32(self.scale)


def scaled_hw(source_hw: tuple[int, int], scale: float) -> tuple[int, int]:
    """Return the height and width in whole pixels after scaling, each at least 1."""
    height, width = source_hw
    return max(1, round(height * scale)), max(1, round(width * scale))


def letterbox_image(
    image: NDArray[np.uint8], input_hw: tuple[int, int], reduced: Reduced | None = None
) -> tuple[NDArray[np.uint8], Letterbox]:
    """Return an image (h, w, 3) as model input (H, W, 3) with grey padding, and its Letterbox.

    `reduced` says where the pixels lie in the image, if they are not all its pixels.
    """
    placed = Letterbox.fit(reduced.source_hw if reduced else image.shape[:2], input_hw)
    scaled = scale_image(image, placed.scale, reduced)
    height, width = scaled.shape[:2]
    canvas = np.full((*input_hw, 3), PAD_VALUE, dtype=np.uint8)
    canvas[placed.top : placed.top + height, placed.left : placed.left + width] = scaled
    return canvas, placed


def scale_image(image: NDArray[np.uint8], scale: float, reduced: Reduced | None = None) -> NDArray[np.uint8]:
    """Return an image (h, w, 3) scaled by a factor; the image itself if its size does not change.

    `reduced` says where the pixels lie in the image, if they are not all its pixels; `scale` is that of the
    image.
    """
    return resize(image, scaled_hw(reduced.source_hw if reduced else image.shape[:2], scale), reduced)


def scale_sample(sample: Sample, input_hw: tuple[int, int]) -> Sample:
    """Return the sample scaled by the factor of its letterbox, without padding.

    A sample that already has this scale stays the same.
    """
    return scale_by(sample, Letterbox.fit(sample.image.shape[:2], input_hw).scale)


def scale_by(sample: Sample, scale: float) -> Sample:
    """Return the sample with its image, all labels and ignored regions scaled by a factor.

    Masks of ignored regions are left out, because only evaluation uses them.
    """
    image = scale_image(sample.image, scale)
    shapes = Shapes.of(sample).scaled(scale, sample.image.shape[:2], image.shape[:2])
    return replace(
        sample,
        image=image,
        boxes_xyxy=sample.boxes_xyxy * np.float32(scale),
        ignored_xyxy=sample.ignored_xyxy * np.float32(scale),
        ignored_masks=None,
        **shapes._asdict(),
    )
