"""Draw predictions into their image: boxes with names, masks, keypoints and skeletons, or classes.

Identical copies of this module are in service/pipeline and clients, so that the same answer gives the same
drawing everywhere. The module imports no other module of its package.
"""

import colorsys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Points = NDArray[np.floating]
_Colour = tuple[int, int, int]
_Rectangle = tuple[int, int, int, int]  # left, top, right, bottom

_SEEN = 0.5  # lowest confidence of a keypoint that is drawn
_FINE_PX = 600  # the shorter side of an image in which a fine line is one pixel wide
_SHIFT = 4  # OpenCV takes coordinates in sixteenths of a pixel
_FAR_PX = 1e6  # larger coordinates are reduced to this, because OpenCV's have 32 bits
_BLOCK = 1 << 20  # pixels that are tinted at once
_TINT = 0.4  # share of the colour in a mask
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)

# H, W of the image · N objects · P keypoints of each


@dataclass(frozen=True, kw_only=True)
class Objects:
    """The objects to draw into one image, best first, in pixels; the first pixel extends from 0 to 1."""

    corners: Points  # (N, 4, 2)  x, y of the corners of each box, in the order of its outline
    class_ids: Sequence[int]  # N
    texts: Sequence[str]  # N
    mask: Callable[[int], NDArray[np.bool_]] | None = None  # returns an object's mask (H, W), by its row
    keypoints: Points | None = None  # (N, P, 3)  x, y, confidence 0..1
    skeleton: Sequence[tuple[int, int]] = ()  # pairs of keypoints, by their place, that a line joins


def draw_objects(image: Image, objects: Objects) -> None:
    """Draw objects into the pixels of their image, the best ones on top.

    The text of an object is left out if it would cover another object's centre or a better object's text. The
    function gets the masks one by one, so that only one whole mask is in memory.

    Args:
        image: (H, W, 3) RGB, contiguous; it is changed.
        objects: the objects that were found in this image.
    """
    unit = _unit(image)
    for row in reversed(range(len(objects.texts))):
        colour = _colour(objects.class_ids[row])
        if objects.mask is not None:
            _draw_mask(image, *_cropped(objects.mask(row)), colour, unit)  # keeps no mask until the next one
        outline = _sixteenths(objects.corners[row])
        cv2.polylines(image, [outline], True, colour, 2 * unit, cv2.LINE_AA, _SHIFT)
        if objects.keypoints is not None:
            _draw_keypoints(image, objects.keypoints[row], objects.skeleton, colour, unit)
    centers = objects.corners.mean(axis=1)
    named: list[_Rectangle] = []
    for row, text in enumerate(objects.texts):
        place = _text_place(image, text, objects.corners[row], unit)
        others = np.delete(centers, row, axis=0)
        # In a crowd, names would hide the objects: the best ones keep theirs.
        if not any(_overlap(place, other) for other in named) and not _holds_any(place, others):
            named.append(place)
            _draw_text(image, text, place, objects.class_ids[row], unit)


def draw_classes(image: Image, class_ids: Sequence[int], texts: Sequence[str]) -> None:
    """Write the classes of a whole image into its upper left corner, as many as the image has space for.

    Args:
        image: (H, W, 3) RGB, contiguous; it is changed.
        class_ids: the classes, best first.
        texts: the line to write for each class.
    """
    unit = _unit(image)
    top = 0
    for class_id, text in zip(class_ids, texts, strict=True):
        width, height = _text_size(text, unit)
        if top and top + height > len(image):
            break
        _draw_text(image, text, (0, top, width, top + height), class_id, unit)
        top += height


def _unit(image: Image) -> int:
    """Return the width of a fine line in pixels, which depends on the size of the image."""
    return max(1, round(int(min(image.shape[:2])) / _FINE_PX))


def _cropped(mask: NDArray[np.bool_]) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Return the part of a mask around its set pixels, contiguous, as 0 and 1, and its left and top edge."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return np.zeros((0, 0), dtype=np.uint8), (0, 0)
    part = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    if part.strides[0] < part.strides[1]:  # stored by columns, as RLE is: NumPy would need ten times as long
        cropped = np.asarray(cv2.transpose(part.T.view(np.uint8)), dtype=np.uint8)
    else:
        cropped = np.ascontiguousarray(part).view(np.uint8)
    return cropped, (int(columns[0]), int(rows[0]))


def _draw_mask(
    image: Image, inside: NDArray[np.uint8], left_top: tuple[int, int], colour: _Colour, unit: int
) -> None:
    """Mix the pixels of a cropped mask with the colour, and draw its outline."""
    if not inside.size:
        return
    (left, top), (height, width) = left_top, inside.shape
    pixels = image[top : top + height, left : left + width]
    mixed = (1 - _TINT) * np.arange(256)[:, None] + _TINT * np.array(colour)
    table = mixed.astype(np.uint8)[None]  # of each channel, the value for every value
    block = max(1, _BLOCK // width)
    for first in range(0, height, block):
        part = pixels[first : first + block]
        cv2.copyTo(cv2.LUT(part, table), inside[first : first + block], part)
    outlines, _ = cv2.findContours(inside, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(image, outlines, -1, colour, unit, offset=left_top)


def _draw_keypoints(
    image: Image, points: Points, skeleton: Sequence[tuple[int, int]], colour: _Colour, unit: int
) -> None:
    """Draw the probably visible keypoints as dots of different colours, and lines between the dots."""
    seen = points[:, 2] >= _SEEN
    places = _sixteenths(points[:, :2])
    for one, other in skeleton:
        if seen[one] and seen[other]:
            line = places[[one, other]]
            cv2.polylines(image, [line], False, colour, 3 * unit, cv2.LINE_AA, _SHIFT)
    for place in np.flatnonzero(seen).tolist():
        x, y = places[place].tolist()
        for fill, thickness in ((_colour(place), cv2.FILLED), (_BLACK, 1)):
            cv2.circle(image, (x, y), 4 * unit << _SHIFT, fill, thickness, cv2.LINE_AA, _SHIFT)


def _text_place(image: Image, text: str, corners: Points, unit: int) -> _Rectangle:
    """Return the place of a text: above the highest corner, or below it if there is no space above."""
    width, height = _text_size(text, unit)
    left, top = np.round(_near(corners[corners[:, 1].argmin()])).astype(int).tolist()
    left = max(0, min(left, image.shape[1] - width))
    top = top - height if top >= height else max(0, top)
    return left, top, left + width, top + height


def _text_size(text: str, unit: int) -> tuple[int, int]:
    """Return the width and height of a text with the space around it."""
    (width, height), below = cv2.getTextSize(text, _FONT, 0.5 * unit, unit)
    return width + 4 * unit, height + below + 2 * unit


def _draw_text(image: Image, text: str, place: _Rectangle, class_id: int, unit: int) -> None:
    left, top, right, bottom = place
    cv2.rectangle(image, (left, top), (right, bottom), _colour(class_id, 0.26), cv2.FILLED)
    (_, height), _ = cv2.getTextSize(text, _FONT, 0.5 * unit, unit)
    at = (left + 2 * unit, top + height + unit)
    cv2.putText(image, text, at, _FONT, 0.5 * unit, _WHITE, unit, cv2.LINE_AA)


def _overlap(one: _Rectangle, other: _Rectangle) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _holds_any(place: _Rectangle, points: Points) -> bool:
    left, top, right, bottom = place
    inside = (points >= (left, top)) & (points <= (right, bottom))
    return bool(inside.all(axis=1).any())


def _colour(number: int, lightness: float = 0.48) -> _Colour:
    """Return the colour of a class or keypoint, the same as on the service's web page."""
    # The golden angle keeps the hues of neighbours apart.
    red, green, blue = colorsys.hls_to_rgb((number * 137.5 + 168) % 360 / 360, lightness, 0.78)
    return round(255 * red), round(255 * green), round(255 * blue)


def _near(points: Points) -> Points:
    return np.clip(np.nan_to_num(points), -_FAR_PX, _FAR_PX)


def _sixteenths(points: Points) -> NDArray[np.int32]:
    # Coordinates refer to pixel edges, OpenCV's to pixel centres.
    return np.round((_near(points) - 0.5) * (1 << _SHIFT)).astype(np.int32)
