"""Labels of images that EXIF turns by a quarter: of the pixels as stored, or of the upright image.

Formats leave it open, and labelling tools do either. Everything else here, the service's answers among it, is
of the upright image, so images are read upright, and labels are turned where their stated size says that
they are of the stored one. Without a stated size, of a square, and where EXIF turns by a half or mirrors,
nothing tells: such labels are taken to be of the upright image, which is what people and browsers see.
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
        boxes_xyxy: as written.
        stated_hw: of the image, as its labels have it; None: they do not say.
        path: the image's file.
        image: as read_rgb decodes it, (H, W, 3).

    Raises:
        DatasetError: the file cannot be read any more.
    """
    height, width = image.shape[:2]
    if height == width or stated_hw != (width, height):
        return boxes_xyxy
    lying = read_rgb(path, upright=False).transpose(1, 0, 2)
    for flip_x, flip_y in product((False, True), repeat=2):
        # What the decoder did tells the turn for every format, without a parser of EXIF for each.
        if np.array_equal(lying[:: -1 if flip_y else 1, :: -1 if flip_x else 1], image):
            turned = boxes_xyxy[:, [1, 0, 3, 2]]
            if flip_x:
                turned[:, [0, 2]] = width - turned[:, [2, 0]]
            if flip_y:
                turned[:, [1, 3]] = height - turned[:, [3, 1]]
            return turned
    return boxes_xyxy  # not turned: the labels name width and height the wrong way round
