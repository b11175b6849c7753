"""Rotates boxes of images that EXIF rotates by a quarter turn, if the boxes refer to the stored pixels.

Images are read upright, and all boxes refer to the upright image, as in the service's answers. Label formats
do not say whether boxes refer to the stored pixels or to the upright image, and labelling tools differ.
If the labels state the stored image's size, the boxes are rotated.

If no size is stated, if the image is square, or if EXIF rotates by a half turn or mirrors, the size does
not show which image the boxes refer to. Then the boxes are taken to refer to the upright image, which people
and browsers see.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.images.image_file import read_image
from training.data.labels.label_file import Box
from training.errors import DatasetError

Size = tuple[float, float] | None  # (height, width) of an image as its labels state it; None: not stated
QUARTER_TURN = 5  # EXIF orientations from here on are turned by a quarter


def upright_boxes(
    boxes_xyxy: NDArray[np.float64],
    stated_hw: Size,
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
    turn = turn_of(stated_hw, image_hw, orientation)
    if turn < QUARTER_TURN:
        return boxes_xyxy
    ends = upright_points(boxes_xyxy.reshape(-1, 2, 2), turn, image_hw)
    return np.concatenate([ends.min(axis=1), ends.max(axis=1)], axis=1)


def turn_of(stated_hw: Size, image_hw: tuple[int, int], orientation: int) -> int:
    """Return the EXIF orientation by which labels have to be turned to fit the upright image; 1: they fit."""
    height, width = image_hw
    if orientation < QUARTER_TURN or height == width or stated_hw != (width, height):
        return 1  # without a quarter turn, the labels just swap width and height
    return orientation


def upright_points(points: NDArray[np.float64], turn: int, image_hw: tuple[int, int]) -> NDArray[np.float64]:
    """Return points (..., 2) in pixels of the upright image; `turn` is that of turn_of."""
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
    """Return a mask (H, W) of the upright image from that of the stored pixels; `turn` is that of turn_of."""
    if turn < QUARTER_TURN:
        return stored
    turned = stored.T
    turned = turned[:, ::-1] if turn in (6, 7) else turned
    return turned[::-1] if turn in (7, 8) else turned


def checked_hw(path: Path, stated_hw: Size, boxes: Iterable[Box]) -> Size:
    """Return the stated (height, width) of an image, or the upright image's size if the stated one is wrong.

    The image is only read if a box exceeds the stated size. The stated size is then wrong if it is
    neither the size of the stored pixels nor that of the upright image.
    """
    if stated_hw is None:
        return None
    height, width = stated_hw
    if all(max(x1, x2) <= width and max(y1, y2) <= height for x1, y1, x2, y2 in boxes):
        return stated_hw
    try:
        image = read_image(path)
    except DatasetError:  # loading the image will name it
        return stated_hw
    upright = image.pixels.shape[:2]
    stored = upright[::-1] if image.orientation >= QUARTER_TURN else upright
    return stated_hw if stated_hw in (upright, stored) else upright
