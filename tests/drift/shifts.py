"""Defects of an image pipeline, and other circumstances, as functions of the pixels of an image."""

from collections.abc import Callable, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]  # (H, W, 3) RGB
Shift = Callable[[Pixels, np.random.Generator], Pixels]


def _bytes(values: NDArray[np.floating]) -> Pixels:
    return np.clip(values, 0, 255).astype(np.uint8)


def _swap_channels(image: Pixels, rng: np.random.Generator) -> Pixels:
    return np.ascontiguousarray(image[..., ::-1])


def _scale_twice(image: Pixels, rng: np.random.Generator) -> Pixels:
    return (image / 255).astype(np.uint8)  # the graph scales, too, so nearly all values become 0


def _stretch(image: Pixels, rng: np.random.Generator) -> Pixels:
    side = max(image.shape[:2])
    return cv2.resize(image, (side, side))  # a square fills the model input, without padding


def _turn(image: Pixels, rng: np.random.Generator) -> Pixels:
    return np.ascontiguousarray(np.rot90(image))


def _encode_again(quality: int) -> Shift:
    def shifted(image: Pixels, rng: np.random.Generator) -> Pixels:
        _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
        return np.ascontiguousarray(decoded[..., ::-1])

    return shifted


def _night(image: Pixels, rng: np.random.Generator) -> Pixels:
    dark = 0.35 * (image / 255) ** 1.6
    return _bytes(255 * (dark + rng.normal(0, 0.02, image.shape)))


def _fog(image: Pixels, rng: np.random.Generator) -> Pixels:
    return _bytes(0.5 * image + 0.5 * 230)


def _blur(image: Pixels, rng: np.random.Generator) -> Pixels:
    return cv2.GaussianBlur(image, (0, 0), 2 * max(image.shape[:2]) / 640)  # 2 pixels of 640


def _noise(image: Pixels, rng: np.random.Generator) -> Pixels:
    return _bytes(image + rng.normal(0, 20, image.shape))


def _zoom(image: Pixels, rng: np.random.Generator) -> Pixels:
    height, width = image.shape[:2]
    top, left = height // 4, width // 4
    return np.ascontiguousarray(image[top : height - top, left : width - left])


def _video_range(image: Pixels, rng: np.random.Generator) -> Pixels:
    return _bytes(16 + image * (219 / 255))


DEFECTS: Mapping[str, Shift] = {
    "channels swapped": _swap_channels,
    "scaled twice": _scale_twice,
    "no letterbox": _stretch,
    "EXIF ignored (90°)": _turn,
    "JPEG again, quality 10": _encode_again(10),
}
"""Defects of a pipeline that the service must notice."""
SHIFTS: Mapping[str, Shift] = {
    "night": _night,
    "fog": _fog,
    "blur": _blur,
    "noise": _noise,
    "zoom (half)": _zoom,
}
"""Other circumstances that the service must notice."""
MILD: Mapping[str, Shift] = {
    "JPEG again, quality 25": _encode_again(25),
    "JPEG again, quality 50": _encode_again(50),
    "video range (16 to 235)": _video_range,
}
"""Defects that cost the starter less than half a point of mAP50-95; they are measured, and do not count."""
MOVING = frozenset({"no letterbox", "EXIF ignored (90°)", "zoom (half)"})
"""Shifts that move objects, so that the labels no longer fit."""
