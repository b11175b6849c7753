"""Rotates boxes that refer to the stored pixels, if EXIF rotates the image by a quarter turn.

Images are read upright, and all boxes refer to the upright image, as in the service's answers. Label formats
do not say whether boxes refer to the stored pixels or to the upright image, and labelling tools differ.
If the labels state the size of the stored pixels, this module rotates the boxes.

The size does not show to which of the two the boxes refer if the labels state no size, if the image is
square, or if EXIF only mirrors it or rotates it by a half turn. In these cases, the boxes are taken to refer
to the upright image, because people and browsers see the upright image.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.images.image_file import read_image
from training.data.labels.label_file import Box
from training.errors import DatasetError

Size = tuple[float, float] | None  # (height, width) of an image as its labels state it; None: not stated
QUARTER_TURN = 5  # EXIF orientations from 5 to 8 turn the image by a quarter


def upright_boxes(
    boxes_xyxy: NDArray[np.float64],
    stated_hw: Size,
    image_hw: tuple[int, int],
    orientation: int,
) -> NDArray[np.float64]:
    """Return boxes (N, 4) in pixels of the upright image.

    Args:
        boxes_xyxy: the boxes as the labels state them, in pixels.
        stated_hw: the (height, width) that the labels state for the image; None: they state none.
        image_hw: (height, width) of the upright image.
        orientation: the EXIF orientation of the stored image, 1 to 8.
    """
    turn = turn_of(stated_hw, image_hw, orientation)
    if turn < QUARTER_TURN:
        return boxes_xyxy
    ends = upright_points(boxes_xyxy.reshape(-1, 2, 2), turn, image_hw)
    return np.concatenate([ends.min(axis=1), ends.max(axis=1)], axis=1)


def turn_of(stated_hw: Size, image_hw: tuple[int, int], orientation: int) -> int:
    """Return the EXIF orientation by which labels must be turned to fit the upright image; 1: not at all."""
    height, width = image_hw
    if orientation < QUARTER_TURN or height == width or stated_hw != (width, height):
        return 1  # without a quarter turn, the labels just swap width and height
    return orientation


def upright_points(points: NDArray[np.float64], turn: int, image_hw: tuple[int, int]) -> NDArray[np.float64]:
    """Return points (..., 2) in pixels of the upright image; `turn` is the result of turn_of."""
    if turn < QUARTER_TURN:
        return points
    height, width = image_hw
    turned = points[..., ::-1].copy()
    if turn in (6, 7):
        turned[..., 0] = width - turned[..., 0]
    if turn in (7, 8):
        turned[..., 1] = height - turned[..., 1]
    return turned


def upright_bitmap(stored: NDArray[np.bool_], turn: int) -> NDArray[np.bool_]:
    """Convert a mask of the stored pixels to a mask (H, W) of the upright image; see turn_of for `turn`."""
    if turn < QUARTER_TURN:
        return stored
    turned = stored.T
    turned = turned[:, ::-1] if turn in (6, 7) else turned
    return turned[::-1] if turn in (7, 8) else turned


def checked_hw(path: Path, stated_hw: Size, boxes: Iterable[Box]) -> Size:
    """Return the stated (height, width) of an image, or the upright image's size if the stated size is wrong.

    The image is read only if a box exceeds the stated size. In this case, the stated size is wrong if it is
    neither the size of the stored pixels nor the size of the upright image.
    """
    if stated_hw is None:
        return None
    height, width = stated_hw
    if all(max(x1, x2) <= width and max(y1, y2) <= height for x1, y1, x2, y2 in boxes):
        return stated_hw
    try:
        image = read_image(path)
    except DatasetError:  # loading the image will raise this error again
        return stated_hw
    upright = image.pixels.shape[:2]
    stored = upright[::-1] if image.orientation >= QUARTER_TURN else upright
    return stated_hw if stated_hw in (upright, stored) else upright
