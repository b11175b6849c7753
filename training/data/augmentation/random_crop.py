"""Random augmentation of a training image for classification: crop, flip and colour shift."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from training.config import AugmentConfig
from training.data.augmentation.augment import shift_colours
from training.data.images.center_crop import center_crop_image

ATTEMPTS = 10  # random crops tried; if none is inside the image, the central crop is taken


def augment_whole(
    image: NDArray[np.uint8], rng: np.random.Generator, config: AugmentConfig, input_hw: tuple[int, int]
) -> NDArray[np.uint8]:
    """Return a model input (H, W, 3): an image (h, w, 3), randomly cropped, flipped and recoloured."""
    view = random_crop(image, rng, config, input_hw)
    view = shift_colours(view, rng, config)
    if rng.random() < config.flip_horizontal:
        view = view[:, ::-1]
    if rng.random() < config.flip_vertical:
        view = view[::-1]
    return np.ascontiguousarray(view)


def random_crop(
    image: NDArray[np.uint8], rng: np.random.Generator, config: AugmentConfig, input_hw: tuple[int, int]
) -> NDArray[np.uint8]:
    """Return a random crop of an image, resized to input_hw.

    The area of the crop ÷ the area of the image is drawn uniformly from crop_area..1. The aspect ratio of the
    crop ÷ the aspect ratio of the model input is drawn log-uniformly from 1 / crop_aspect..crop_aspect.

    Source: Szegedy et al. 2014, arXiv:1409.4842, section 6.
    """
    height, width = image.shape[:2]
    limit = math.log(config.crop_aspect)
    for _ in range(ATTEMPTS):
        area = height * width * rng.uniform(config.crop_area, 1)
        aspect = math.exp(rng.uniform(-limit, limit)) * input_hw[1] / input_hw[0]
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 1 <= w <= width and 1 <= h <= height:
            left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            part = image[top : top + h, left : left + w]
            resized = cv2.resize(part, input_hw[::-1], interpolation=cv2.INTER_LINEAR)
            return resized.astype(np.uint8, copy=False)
    return center_crop_image(image, input_hw)
