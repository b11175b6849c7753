"""Draw a blood smear: pale red cells, and one white cell. The starter finds its classes in this drawing."""

import cv2
import numpy as np
from numpy.typing import NDArray

HEIGHT, WIDTH = 480, 640
_RED_CELLS = 26
_RADIUS = (30, 42)  # of a red cell, in pixels
_WHITE_AT, _WHITE_RADIUS = (390, 225), 62
_GROUND, _RED, _PALE = (228, 220, 214), (214, 168, 172), (224, 196, 194)  # RGB
_CYTOPLASM, _NUCLEUS, _PLATELET = (196, 176, 208), (112, 72, 150), (146, 98, 166)


def draw_smear(seed: int = 3) -> NDArray[np.uint8]:
    """Return an RGB image (480, 640, 3); the same seed gives the same image."""
    rng = np.random.default_rng(seed)
    image = np.full((HEIGHT, WIDTH, 3), _GROUND, dtype=np.uint8)
    for center, radius in _places(rng):
        axes = (radius, int(radius * rng.uniform(0.88, 1.0)))
        angle = float(rng.uniform(0, 180))
        cv2.ellipse(image, center, axes, angle, 0, 360, _RED, -1, cv2.LINE_AA)
        cv2.ellipse(image, center, axes, angle, 0, 360, (196, 146, 152), 2, cv2.LINE_AA)
        cv2.circle(image, center, radius // 3, _PALE, -1, cv2.LINE_AA)
    _draw_white_cell(image)
    for x, y in ((120, 60), (560, 420)):
        cv2.circle(image, (x, y), 9, _PLATELET, -1, cv2.LINE_AA)
    return cv2.GaussianBlur(image, (0, 0), 2.2).astype(np.uint8)


def _places(rng: np.random.Generator) -> list[tuple[tuple[int, int], int]]:
    """Return centers and radii of cells that hardly overlap, and keep clear of the white cell."""
    found = [(_WHITE_AT, _WHITE_RADIUS)]
    for _ in range(4000):
        radius = int(rng.integers(*_RADIUS))
        center = (int(rng.integers(0, WIDTH)), int(rng.integers(0, HEIGHT)))
        if all(np.hypot(center[0] - x, center[1] - y) > 0.92 * (radius + other) for (x, y), other in found):
            found.append((center, radius))
        if len(found) > _RED_CELLS:
            break
    return found[1:]


def _draw_white_cell(image: NDArray[np.uint8]) -> None:
    x, y = _WHITE_AT
    cv2.circle(image, _WHITE_AT, _WHITE_RADIUS, _CYTOPLASM, -1, cv2.LINE_AA)
    for dx, dy, radius in ((-18, -14, 30), (16, -18, 27), (14, 18, 30), (-14, 18, 24)):
        cv2.circle(image, (x + dx, y + dy), radius, _NUCLEUS, -1, cv2.LINE_AA)
