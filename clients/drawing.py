"""Draw the objects of an answer into their image: boxes with names, masks and keypoints."""

import colorsys

import cv2
import numpy as np
from numpy.typing import NDArray

from .tasks.boxes import Detection, Detections
from .tasks.obb import OrientedDetections
from .tasks.pose import Poses
from .tasks.segment import Segments

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]
_Rectangle = tuple[int, int, int, int]  # left, top, right, bottom

_SEEN = 0.5  # lowest score of a keypoint that is drawn
_FINE_PX = 600  # the shorter side of an image in which a fine line is one pixel wide
_SHIFT = 4  # OpenCV takes coordinates in sixteenths of a pixel
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)


def draw(image: Image, found: Detections) -> Image:
    """Return a copy of an image with the objects that were found in it.

    Each object has its name, unless the name would cover another object's centre or a better object's name.

    Args:
        image: (H, W, 3) RGB, of the size of the image in which the objects were found.
        found: the result of `detect`, `segment`, `pose` or `detect_oriented`.

    Raises:
        ValueError: the image has another size, or a mask cannot be read.
    """
    if image.shape[:2] != found.image_hw:
        raise ValueError(f"the image of {image.shape[:2]} pixels is not the one of {found.image_hw}")
    drawn = np.ascontiguousarray(image).copy()
    unit = max(1, round(min(found.image_hw) / _FINE_PX))
    objects = list(enumerate(found))[::-1]
    for row, one in objects:
        colour = _colour(one.class_id)
        if isinstance(found, Segments) and found.encoded_masks is not None:
            _draw_mask(drawn, found.mask(row), colour, unit)
        corners = _corners(one, found, row)
        cv2.polylines(drawn, [_sixteenths(corners)], True, colour, 2 * unit, cv2.LINE_AA, _SHIFT)
        if isinstance(found, Poses):
            _draw_keypoints(drawn, found.keypoints[row], found.keypoint_scores[row], unit)
    centers = np.array([_corners(one, found, row).mean(axis=0) for row, one in enumerate(found)])
    named: list[_Rectangle] = []
    for row, one in enumerate(found):
        place, text = _name_place(image, one, _corners(one, found, row), unit)
        others = np.delete(centers, row, axis=0)
        # In a crowd, names would hide the objects: the best ones keep theirs.
        if not any(_overlap(place, other) for other in named) and not _holds_any(place, others):
            named.append(place)
            _draw_name(drawn, text, place, _colour(one.class_id, 0.26), unit)
    return drawn


def _corners(one: Detection, found: Detections, row: int) -> NDArray[np.float32]:
    if isinstance(found, OrientedDetections):
        corners: NDArray[np.float32] = found.corners[row]
        return corners
    left, top, right, bottom = one.box_xyxy
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], dtype=np.float32)


def _draw_mask(image: Image, mask: NDArray[np.bool_], colour: Colour, unit: int) -> None:
    """Mix the mask's pixels with the colour, and draw its outline."""
    image[mask] = (0.6 * image[mask] + 0.4 * np.array(colour)).astype(np.uint8)
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(image, outlines, -1, colour, unit)


def _draw_keypoints(
    image: Image, points: NDArray[np.float32], scores: NDArray[np.float32], unit: int
) -> None:
    """Draw a dot in a colour of its own for each keypoint that is likely visible."""
    for place in np.flatnonzero(scores >= _SEEN).tolist():
        x, y = _sixteenths(points[place]).tolist()
        for colour, thickness in ((_colour(place), cv2.FILLED), (_BLACK, 1)):
            cv2.circle(image, (x, y), 4 * unit << _SHIFT, colour, thickness, cv2.LINE_AA, _SHIFT)


def _name_place(
    image: Image, one: Detection, corners: NDArray[np.float32], unit: int
) -> tuple[_Rectangle, str]:
    """Return class and score, and their place: above the highest corner, or below without room above."""
    text = f"{one.class_name} {one.score:.2f}"
    (width, height), below = cv2.getTextSize(text, _FONT, 0.5 * unit, unit)
    left, top = corners[corners[:, 1].argmin()].round().astype(int).tolist()
    room = height + below + 2 * unit
    left = max(0, min(left, image.shape[1] - width - 4 * unit))
    top = top - room if top >= room else max(0, top)
    return (left, top, left + width + 4 * unit, top + room), text


def _draw_name(image: Image, text: str, place: _Rectangle, colour: Colour, unit: int) -> None:
    left, top, right, bottom = place
    cv2.rectangle(image, (left, top), (right, bottom), colour, cv2.FILLED)
    (_, height), _ = cv2.getTextSize(text, _FONT, 0.5 * unit, unit)
    at = (left + 2 * unit, top + height + unit)
    cv2.putText(image, text, at, _FONT, 0.5 * unit, _WHITE, unit, cv2.LINE_AA)


def _overlap(one: _Rectangle, other: _Rectangle) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _holds_any(place: _Rectangle, points: NDArray[np.float32]) -> bool:
    left, top, right, bottom = place
    inside = (points >= (left, top)) & (points <= (right, bottom))
    return bool(inside.all(axis=1).any())


def _colour(number: int, lightness: float = 0.48) -> Colour:
    """Return the colour of a class or keypoint: the one that the service's web page gives it."""
    # The golden angle keeps the hues of neighbours apart.
    red, green, blue = colorsys.hls_to_rgb((number * 137.5 + 168) % 360 / 360, lightness, 0.78)
    return round(255 * red), round(255 * green), round(255 * blue)


def _sixteenths(points: NDArray[np.float32]) -> NDArray[np.int32]:
    # Coordinates refer to pixel edges, OpenCV's to pixel centres. Far outside, they would not fit in 32 bits.
    return np.round((np.clip(points, -1e6, 1e6) - 0.5) * (1 << _SHIFT)).astype(np.int32)
