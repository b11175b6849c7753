"""Draw a result: objects with class and score, or the likeliest classes, and a row of experts per layer."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from training.predict.result import SEEN, Result
from training.predict.shapes import Colour, Image, class_colour, draw_corners, draw_keypoints, draw_mask

FONT = cv2.FONT_HERSHEY_SIMPLEX
WHITE, BLACK, GREY, PALE = (255, 255, 255), (0, 0, 0), (90, 90, 90), (235, 235, 235)
EXPERT = np.array([0, 114, 178])  # the colour of an expert with weight 1; lighter for less
READABLE_PX = 640  # the mean side of an image on which text has its usual size


def draw(result: Result, *, experts: bool = True) -> Image:
    """Return a copy of the result's image with its objects or classes drawn on it; see Result.plot."""
    image = np.ascontiguousarray(result.image).copy()
    scale = float(np.clip(sum(image.shape[:2]) / 2 / READABLE_PX, 0.6, 4))
    labels = [f"{name} {score:.2f}" for name, score in zip(result.class_names, result.scores, strict=True)]
    if result.boxes_xyxy is None:
        for line, (label, class_id) in enumerate(zip(labels, result.class_ids, strict=True)):
            _label(image, label, (2, 2 + line * _line_px(scale)), scale, class_colour(int(class_id)))
    else:
        colours = [class_colour(class_id) for class_id in result.class_ids.tolist()]
        _shapes(image, result, colours, scale)
        corners = _boxes(image, result, colours, scale)
        # Labels after all boxes, and the highest score last, so that its label is above the others.
        for label, corner, colour in reversed(list(zip(labels, corners, colours, strict=True))):
            _label(image, label, corner, scale, colour)
    if experts and result.routings:
        band = [_row(layer, gates, image.shape[1], scale) for layer, (gates, _) in result.routings.items()]
        image = np.concatenate([image, *band])
    return image


def _shapes(image: Image, result: Result, colours: list[Colour], scale: float) -> None:
    """Draw the masks and keypoints of all objects; the object with the highest score comes last."""
    masks, keypoints = result.masks, result.keypoints
    for row in reversed(range(len(result))):
        if masks is not None:
            draw_mask(image, masks[row], colours[row], max(1, round(scale)))
        if keypoints is not None:
            shown = keypoints[row].copy()
            shown[:, 2] = np.where(shown[:, 2] >= SEEN, 2, 0)
            draw_keypoints(image, shown, result.skeleton, colours[row], scale)


def _boxes(image: Image, result: Result, colours: list[Colour], scale: float) -> list[tuple[int, int]]:
    """Draw the boxes, or the oriented boxes if there are any; return where their labels begin."""
    thickness = max(1, round(2 * scale))
    if result.corners is not None:
        found = []
        for corners, colour in zip(result.corners, colours, strict=True):
            draw_corners(image, corners, colour, thickness)
            left, top = corners.min(axis=0).tolist()
            found.append(_above(round(left), round(top), scale))
        return found
    assert result.boxes_xyxy is not None
    return [_box(image, *pair, scale) for pair in zip(result.boxes_xyxy, colours, strict=True)]


def _box(image: Image, box: NDArray[np.float32], colour: Colour, scale: float) -> tuple[int, int]:
    """Draw a box, and return the upper left corner of its label."""
    left, top, right, bottom = (round(float(edge)) for edge in box)
    cv2.rectangle(image, (left, top), (right, bottom), colour, max(1, round(2 * scale)))
    return _above(left, top, scale)


def _above(left: int, top: int, scale: float) -> tuple[int, int]:
    """Return the upper left corner of a box's label: above the box, or inside if there is no space."""
    above = top - _line_px(scale)
    return left, above if above >= 0 else max(0, top)


def _label(image: Image, text: str, left_top: tuple[int, int], scale: float, colour: Colour) -> None:
    """Draw text on a filled box.

    The box's upper left corner is left_top. If the text would be cut off there, the box is further left.
    """
    size = 0.5 * scale
    width = cv2.getTextSize(text, FONT, size, 1)[0][0] + 4
    left, top = max(0, min(left_top[0], image.shape[1] - width)), left_top[1]
    cv2.rectangle(image, (left, top), (left + width, top + _line_px(scale) - 1), colour, cv2.FILLED)
    light = np.dot(colour, (0.299, 0.587, 0.114)) > 140
    base = (left + 2, top + round(0.72 * _line_px(scale)))
    cv2.putText(image, text, base, FONT, size, BLACK if light else WHITE, 1, cv2.LINE_AA)


def _row(layer: str, gates: Sequence[float] | NDArray[np.float32], width: int, scale: float) -> Image:
    """Draw a line with the name of a layer and a cell for each expert; a higher gate gives a darker cell."""
    height, names = _line_px(scale), round(0.3 * width)
    row = np.full((height, width, 3), 255, np.uint8)
    cv2.putText(row[:, :names], layer, (3, round(0.7 * height)), FONT, 0.42 * scale, GREY, 1, cv2.LINE_AA)
    edges = np.linspace(names, width, len(gates) + 1).round().astype(int)
    for expert, gate in enumerate(gates):
        cell = row[1:, edges[expert] + 1 : edges[expert + 1]]
        cell[:] = PALE if gate <= 0 else 255 - (255 - EXPERT) * (0.35 + 0.65 * float(gate))
        text = f"{expert}" if gate <= 0 else f"{expert}: {gate:.0%}"
        size = 0.4 * scale
        if cv2.getTextSize(text, FONT, size, 1)[0][0] + 4 <= cell.shape[1]:
            colour = GREY if gate <= 0 else WHITE if gate > 0.4 else BLACK
            cv2.putText(cell, text, (3, round(0.68 * height)), FONT, size, colour, 1, cv2.LINE_AA)
    return row


def _line_px(scale: float) -> int:
    return round(20 * scale)


def encode(image: Image, suffix: str) -> bytes:
    """Return an RGB image (H, W, 3) as the bytes of a file with this suffix, such as ".png"."""
    _, encoded = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return encoded.tobytes()
