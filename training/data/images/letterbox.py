"""Scales an image and its boxes to fit into the centre of the model input, and keeps the aspect ratio."""

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
    """The scale and place of a source image in the model input.

    A point of the source image lies, in the model input, at x_input = x_source * scale + left and
    y_input = y_source * scale + top.
    """

    scale: float
    left: int
    top: int

    @classmethod
    def fit(cls, source_hw: tuple[int, int], input_hw: tuple[int, int]) -> Self:
        """Return the Letterbox for a source image in the centre of the model input, as large as fits."""
        scale = min(input_hw[0] / source_hw[0], input_hw[1] / source_hw[1])
        height, width = scaled_hw(source_hw, scale)
        return cls(scale=scale, left=(input_hw[1] - width) // 2, top=(input_hw[0] - height) // 2)

    def to_source(self, boxes_xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convert boxes (N, 4) from pixels of the model input to pixels of the source image; clip nothing."""
        offset = np.array([self.left, self.top, self.left, self.top], dtype=np.float32)
        return (boxes_xyxy - offset) / np.float32(self.scale)

    def points_to_source(self, points_xy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convert points (..., 2) from pixels of the model input to pixels of the source image."""
        return (points_xy - np.array([self.left, self.top], dtype=np.float32)) / np.float32(self.scale)


def scaled_hw(source_hw: tuple[int, int], scale: float) -> tuple[int, int]:
    """Return the height and width after scaling, in whole pixels; each is at least 1."""
    height, width = source_hw
    return max(1, round(height * scale)), max(1, round(width * scale))


def letterbox_image(
    image: NDArray[np.uint8], input_hw: tuple[int, int], reduced: Reduced | None = None
) -> tuple[NDArray[np.uint8], Letterbox]:
    """Return a model input (H, W, 3), which is an image (h, w, 3) with grey padding, and the Letterbox.

    If `image` holds the reduced pixels of a larger image, `reduced` says where they lie in it.
    """
    placed = Letterbox.fit(reduced.source_hw if reduced else image.shape[:2], input_hw)
    scaled = scale_image(image, placed.scale, reduced)
    height, width = scaled.shape[:2]
    canvas = np.full((*input_hw, 3), PAD_VALUE, dtype=np.uint8)
    canvas[placed.top : placed.top + height, placed.left : placed.left + width] = scaled
    return canvas, placed


def scale_image(image: NDArray[np.uint8], scale: float, reduced: Reduced | None = None) -> NDArray[np.uint8]:
    """Return an image (h, w, 3) scaled by a factor; return `image` itself if its size does not change.

    If `image` holds the reduced pixels of a larger image, `reduced` says where they lie in it, and `scale`
    is the factor for the larger image.
    """
    return resize(image, scaled_hw(reduced.source_hw if reduced else image.shape[:2], scale), reduced)


def scale_sample(sample: Sample, input_hw: tuple[int, int]) -> Sample:
    """Return the sample scaled to fit into the model input, without padding.

    A sample that already has this scale stays the same.
    """
    return scale_by(sample, Letterbox.fit(sample.image.shape[:2], input_hw).scale)


def scale_by(sample: Sample, scale: float) -> Sample:
    """Return the sample with its image, all its labels and its ignored regions scaled by a factor.

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
