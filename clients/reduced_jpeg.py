"""Decode a JPEG at a half, a quarter or an eighth of its size if a model input needs no more pixels.

libjpeg computes such pixels from the lower frequencies of each block of 8 x 8 pixels, which takes less time
than decoding all pixels. Each reduced pixel covers exactly 2 x 2, 4 x 4 or 8 x 8 source pixels. If the width
or height is not a multiple of 2, 4 or 8, the last reduced column or row reaches beyond the image. The reduced
size therefore does not tell where the image ends; `Reduced` holds this information.

Identical copies of this module are beside the copies of image_decoding. The module imports no other module of
its package.
"""

from typing import Literal, NamedTuple

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

# libjpeg has SIMD code for these sizes of a block only; 3, 5, 6 and 7 eighths take longer than the next one.
_EIGHTHS = (1, 2, 4)
WHOLE = 8
# Least size of the reduced image, in sizes that the image has in the model input. Networks learn from images
# that are resized bilinearly, so not too smooth. With a margin of 1, the starter's mAP50-95 on the aquarium's
# images falls from 18.34 to 18.12 %. With 2, images as large as those of its data sets are decoded whole; of
# enlarged ones, the mAP changes by +0.01 (blood cells) and -0.07 points (aquarium) on average over encodings
# of the same images, among which it varies by 0.4 to 0.7 points anyway. tests/load/RESULTS.md has the tables.
MARGIN = 2.0
_MOST_SIDES = 8  # of the model input; longer images are decoded whole, because centre crops cut them first
_SMALLEST = 64  # longer side of an image, pixels; below it, two reductions can have the same size


class Fit(NamedTuple):
    """The model input (canvas) that an image will be fitted into."""

    input_hw: tuple[int, int]
    mode: Literal["letterbox", "center_crop"]  # inside the model input, or covering it


class Reduced(NamedTuple):
    """The position of reduced pixels in the whole image."""

    source_hw: tuple[int, int]  # of the whole image, upright
    eighths: int  # sides of a reduced pixel are 8 / eighths source pixels
    from_bottom: bool = False  # whether the first row reaches beyond the image, instead of the last one
    from_right: bool = False  # whether the first column does

    @property
    def extent_hw(self) -> tuple[float, float]:
        """Return the height and width of the image in reduced pixels; these are seldom whole numbers."""
        return self.source_hw[0] * self.eighths / WHOLE, self.source_hw[1] * self.eighths / WHOLE


def eighths_for(source_hw: tuple[int, int], fit: Fit | None) -> int:
    """Return the scale at which to decode a JPEG for `fit`, in eighths of its size: 1, 2, 4 or 8.

    This is the smallest scale at which the image still has at least MARGIN times the size that it will have
    in the model input. Without a `fit`, it is 8. `source_hw` and `fit` must have the same orientation: both
    as displayed, or both as stored.
    """
    if fit is None or max(source_hw) < _SMALLEST:
        return WHOLE
    scales = [canvas / source for canvas, source in zip(fit.input_hw, source_hw, strict=True)]
    scale = min(scales) if fit.mode == "letterbox" else max(scales)
    if scale > _MOST_SIDES * min(scales):
        return WHOLE
    return next((eighths for eighths in _EIGHTHS if eighths >= WHOLE * MARGIN * scale), WHOLE)


def decode_jpeg(data: bytes, source_hw: tuple[int, int], eighths: int) -> NDArray[np.uint8]:
    """Return the pixels of a JPEG as stored, (H, W, 3) RGB, at `eighths` eighths of the JPEG's size.

    Raises:
        ValueError: libjpeg warns of damage, or cannot decode the file.
    """
    if eighths == WHOLE:
        least = {}
    else:  # the smallest size that is not below these is the size for `eighths`
        least = dict(zip(("min_height", "min_width"), reduced_hw(source_hw, eighths), strict=True))
    pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, **least)
    return pixels


def reduced_hw(source_hw: tuple[int, int], eighths: int) -> tuple[int, int]:
    """Return the size that libjpeg gives a reduced image; it rounds fractions of a pixel up."""
    return -(-source_hw[0] * eighths // WHOLE), -(-source_hw[1] * eighths // WHOLE)


def upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Return stored pixels (H, W, 3) turned upright, as a view; `orientation` is the EXIF value, 1 to 8."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    from_bottom, from_right = mirrored(orientation)
    return pixels[:: -1 if from_bottom else 1, :: -1 if from_right else 1]


def mirrored(orientation: int) -> tuple[bool, bool]:
    """Return whether turning upright reverses rows, and whether columns, after a swap of the axes, if any."""
    return orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)


def resize(
    pixels: NDArray[np.uint8], hw: tuple[int, int], reduced: Reduced | None = None
) -> NDArray[np.uint8]:
    """Return an image (H, W, 3) resized to (height, width), bilinearly; the image itself if it has this size.

    For reduced pixels, `reduced` gives their position in the image. The result then shows exactly the image,
    and nothing beyond its edges.
    """
    height, width = hw
    if reduced is None or reduced.extent_hw == pixels.shape[:2]:
        if pixels.shape[:2] == hw:
            return pixels
        resized = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    else:
        # OpenCV's resize would take the size in whole pixels for the size of the image.
        extent_h, extent_w = reduced.extent_hw
        step_x, step_y = extent_w / width, extent_h / height
        before_x = pixels.shape[1] - extent_w if reduced.from_right else 0.0
        before_y = pixels.shape[0] - extent_h if reduced.from_bottom else 0.0
        from_target = np.array(
            [[step_x, 0, before_x + step_x / 2 - 0.5], [0, step_y, before_y + step_y / 2 - 0.5]]
        )
        how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        resized = cv2.warpAffine(
            pixels, from_target, (width, height), flags=how, borderMode=cv2.BORDER_REPLICATE
        )
    return resized.astype(np.uint8, copy=False)
