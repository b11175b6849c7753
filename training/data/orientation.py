"""Rotates boxes of images that EXIF rotates by a quarter turn, if the boxes refer to the stored pixels.

Images are read upright, and all boxes refer to the upright image, as in the service's answers. Label formats
do not say whether boxes refer to the stored pixels or to the upright image, and labelling tools do either.
If the labels state the stored image's size, the boxes are rotated.

If no size is stated, if the image is square, or if EXIF rotates by a half turn or mirrors, the size tells
nothing. Then boxes are taken to refer to the upright image, which is what people and browsers see.
"""

import numpy as np
from numpy.typing import NDArray


def upright_boxes(
    boxes_xyxy: NDArray[np.float64],
    stated_hw: tuple[float, float] | None,
    image_hw: tuple[int, int],
    orientation: int,
) -> NDArray[np.float64]:
    """Return boxes (N, 4) in pixels of the upright image.

    Args:
        boxes_xyxy: the boxes as the labels state them, in pixels.
        stated_hw: the image's (height, width) as the labels state it; None: not stated.
        image_hw: (height, width) of the upright image.
        orientation: the EXIF orientation of the stored image, 1 to 8.
    """
    height, width = image_hw
    if orientation < 5 or height == width or stated_hw != (width, height):
        return boxes_xyxy  # below 5 there is no quarter turn, and the labels just swap width and height
    turned = boxes_xyxy[:, [1, 0, 3, 2]]
    if orientation in (6, 7):
        turned[:, [0, 2]] = width - turned[:, [2, 0]]
    if orientation in (7, 8):
        turned[:, [1, 3]] = height - turned[:, [3, 1]]
    return turned
