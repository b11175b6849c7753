"""Resize an image to the model input, in the way that the manifest specifies."""

from dataclasses import dataclass
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from service.artifact.tensors import CenterCropResize, ImagesInput, LetterboxResize
from service.pipeline.center_crop import CenterCrop
from service.pipeline.letterbox import Letterbox
from service.pipeline.reduced_jpeg import Fit, Reduced


@dataclass(frozen=True)
class Placed:
    """An image that has been resized to the model input (canvas), and its position there."""

    canvas: NDArray[np.uint8]  # (1, H, W, 3)
    place: Letterbox | CenterCrop
    source_hw: tuple[int, int]


def fit_of(spec: ImagesInput) -> Fit:
    """Return the facts about the model input with which the decoder can decode JPEGs at a smaller size."""
    return Fit(spec.canvas_hw, spec.resize.mode)


def preprocess(image: NDArray[np.uint8], spec: ImagesInput, reduced: Reduced | None = None) -> Placed:
    """Resize an (H, W, 3) RGB image to the model input; return the input and the image's position in it.

    If the image was decoded at a smaller size, `reduced` says where its pixels lie in the whole image. All
    positions and sizes in the result refer to the whole image.
    """
    source_hw = reduced.source_hw if reduced else (image.shape[0], image.shape[1])
    match spec.resize:
        case LetterboxResize(pad_value=pad_value):
            letterbox = Letterbox.fit(source_hw, spec.canvas_hw)
            return Placed(letterbox.apply(image, spec.canvas_hw, pad_value, reduced), letterbox, source_hw)
        case CenterCropResize():
            crop = CenterCrop.fit(source_hw, spec.canvas_hw)
            return Placed(crop.apply(image, spec.canvas_hw, reduced), crop, source_hw)
        case _:
            assert_never(spec.resize)
