"""Draw the masks, keypoints and oriented boxes of objects into an image."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.masks import Mask

Colour = tuple[int, int, int]
Image = NDArray[np.uint8]

SHIFT = 4  # OpenCV takes coordinates in sixteenths of a pixel
BLACK = (0, 0, 0)


def class_colour(class_id: int) -> Colour:
    """Return a bright colour for a class; classes with successive ids get very different hues."""
    hue = np.uint8(class_id * 111 % 180)  # near the golden angle, in OpenCV's half degrees
    red, green, blue = cv2.cvtColor(np.array([[[hue, 255, 255]]], dtype=np.uint8), cv2.COLOR_HSV2RGB)[0, 0]
    return int(red), int(green), int(blue)


def draw_mask(image: Image, mask: Mask, colour: Colour, thickness: int) -> None:
    """Mix a colour half and half into the pixels of a mask, and draw the mask's contour in this colour."""
    y1, x1 = max(0, mask.top), max(0, mask.left)
    part = mask.bitmap[y1 - mask.top : image.shape[0] - mask.top, x1 - mask.left : image.shape[1] - mask.left]
    if y1 >= image.shape[0] or x1 >= image.shape[1] or not part.any():
        return
    window = image[y1 : y1 + part.shape[0], x1 : x1 + part.shape[1]]
    drawn = part.astype(np.uint8)
    mixed = (np.arange(256)[None, :, None] + np.array(colour)) // 2  # (1, 256, 3): by old value and channel
    cv2.copyTo(cv2.LUT(window, mixed.astype(np.uint8)), drawn, window)  # many times faster than window[part]
    found, _ = cv2.findContours(drawn, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE, offset=(x1, y1))
    cv2.drawContours(image, found, -1, colour, thickness)


def draw_corners(image: Image, corners: NDArray[np.floating], colour: Colour, thickness: int) -> None:
    """Draw an oriented box; its corners (4, 2) are in pixels from the upper left corner of the image."""
    points = _sixteenths(corners)
    cv2.polylines(image, [points], isClosed=True, color=colour, thickness=thickness, shift=SHIFT)


def draw_keypoints(
    image: Image,
    keypoints: NDArray[np.floating],
    edges: Sequence[tuple[int, int]],
    colour: Colour,
    scale: float,
) -> None:
    """Draw the keypoints (P, 3) of one object, and each edge whose two keypoints are drawn.

    Args:
        keypoints: x and y in pixels, and how to draw: 0 is nothing, 1 a ring, and 2 a filled dot. Each
            keypoint has its own colour.
        edges: pairs of keypoints.
        colour: colour of the edges.
        scale: size of dots and lines; 1 for an image with sides of about 640 pixels.
    """
    points, drawn = _sixteenths(keypoints[:, :2]), keypoints[:, 2] > 0
    for one, other in edges:
        if drawn[one] and drawn[other]:
            ends = (points[one].tolist(), points[other].tolist())
            cv2.line(image, *ends, colour, max(1, round(2 * scale)), cv2.LINE_8, SHIFT)
    radius = max(3, round(4 * scale))
    for place in np.flatnonzero(drawn).tolist():
        centre, own = points[place].tolist(), class_colour(place)
        if keypoints[place, 2] >= 2:
            cv2.circle(image, centre, radius << SHIFT, own, cv2.FILLED, cv2.LINE_AA, SHIFT)
            cv2.circle(image, centre, radius << SHIFT, BLACK, 1, cv2.LINE_AA, SHIFT)
        else:
            cv2.circle(image, centre, radius << SHIFT, own, max(1, round(scale)), cv2.LINE_AA, SHIFT)


def _sixteenths(points: NDArray[np.floating]) -> NDArray[np.int32]:
    # Coordinates refer to pixel edges, OpenCV's to pixel centres. Far outside, they would not fit in 32 bits.
    return np.round((np.clip(points, -1e6, 1e6) - 0.5) * (1 << SHIFT)).astype(np.int32)
