"""Resize an image to the model input, in the way that the manifest specifies."""

from dataclasses import dataclass
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from service.artifact.tensors import CenterCropResize, ImagesInput, LetterboxResize
from service.pipeline.center_crop import CenterCrop
from service.pipeline.letterbox import Letterbox


@dataclass(frozen=True)
class Placed:
    """An image that has been resized to the model input (canvas), and its position there."""

    canvas: NDArray[np.uint8]  # (1, H, W, 3)
    place: Letterbox | CenterCrop
    source_hw: tuple[int, int]


def preprocess(image: NDArray[np.uint8], spec: ImagesInput) -> Placed:
    """Resize an (H, W, 3) RGB image to the model input; return the input and the image's position in it."""
    source_hw = (image.shape[0], image.shape[1])
    match spec.resize:
        case LetterboxResize(pad_value=pad_value):
            letterbox = Letterbox.fit(source_hw, spec.canvas_hw)
            return Placed(letterbox.apply(image, spec.canvas_hw, pad_value), letterbox, source_hw)
        case CenterCropResize():
            crop = CenterCrop.fit(source_hw, spec.canvas_hw)
            return Placed(crop.apply(image, spec.canvas_hw), crop, source_hw)
        case _:
            assert_never(spec.resize)
