"""Rotates boxes of images that EXIF rotates by a quarter turn, if the boxes refer to the stored pixels.

Images are read upright, and all boxes refer to the upright image, as in the service's answers. Label formats
do not say whether boxes refer to the stored pixels or to the upright image, and labelling tools do either.
If the labels state the stored image's size, the boxes are rotated.

If no size is stated, if the image is square, or if EXIF rotates by a half turn or mirrors, the size tells
nothing. Then boxes are taken to refer to the upright image, which is what people and browsers see.
"""

from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.image_file import read_rgb


def upright_boxes(
    boxes_xyxy: NDArray[np.float64],
    stated_hw: tuple[float, float] | None,
    path: Path,
    image: NDArray[np.uint8],
) -> NDArray[np.float64]:
    """Return boxes (N, 4) in pixels of the upright image.

    Args:
        boxes_xyxy: the boxes as the labels state them, in pixels.
        stated_hw: the image's (height, width) as the labels state it; None: not stated.
        path: the image file.
        image: the upright image as read_rgb returns it, (H, W, 3).
    """
    height, width = image.shape[:2]
    if height == width or stated_hw != (width, height):
        return boxes_xyxy
    lying = read_rgb(path, upright=False).transpose(1, 0, 2)
    for flip_x, flip_y in product((False, True), repeat=2):
        # Comparing with the decoded image finds the rotation for every file format, without parsing EXIF.
        if np.array_equal(lying[:: -1 if flip_y else 1, :: -1 if flip_x else 1], image):
            turned = boxes_xyxy[:, [1, 0, 3, 2]]
            if flip_x:
                turned[:, [0, 2]] = width - turned[:, [2, 0]]
            if flip_y:
                turned[:, [1, 3]] = height - turned[:, [3, 1]]
            return turned
    return boxes_xyxy  # EXIF does not rotate the image: the labels just swap width and height
