"""The shapes that label files state beside boxes: kept as text in memory, and decoded with their image.

Source of polygons and run-length encodings: https://cocodataset.org/#format-data.
"""

import json
from array import array
from typing import Any

import numpy as np
from faster_coco_eval.core import mask as coco_mask
from numpy.typing import NDArray

from training.data.masks import Mask
from training.data.orientation import Size, is_turned, turned_mask, turned_points

# P keypoints


class ShapeTexts:
    """The shapes of many objects in one buffer, so that millions of them need no Python objects."""

    def __init__(self) -> None:
        self._text = bytearray()
        self._ends = array("q")

    def add(self, shape: Any) -> int:
        """Keep a shape, which must be writable as JSON; return its number."""
        self._text += json.dumps(shape, separators=(",", ":")).encode()
        self._ends.append(len(self._text))
        return len(self._ends) - 1

    def shape(self, number: int) -> Any:
        """Return the shape with this number; None for -1."""
        if number < 0:
            return None
        start = self._ends[number - 1] if number else 0
        return json.loads(self._text[start : self._ends[number]])


def checked_outline(segmentation: Any) -> Any:
    """Return a COCO `segmentation` that a mask can be made of; None if it is empty.

    Raises:
        ValueError: it is neither a list of polygons nor a run-length encoding.
    """
    if not segmentation:
        return None
    if isinstance(segmentation, dict):
        size, counts = segmentation.get("size"), segmentation.get("counts")
        if not (isinstance(size, list) and len(size) == 2 and all(isinstance(side, int) for side in size)):
            raise ValueError("a mask needs its size, height and width")
        if not isinstance(counts, list | str):
            raise ValueError("a mask needs counts, a text or a list of numbers")
        if isinstance(counts, list) and (min(counts, default=-1) < 0 or sum(counts) != size[0] * size[1]):
            raise ValueError("the counts of a mask do not fill its size")
        return segmentation
    polygons = [[float(number) for number in polygon] for polygon in segmentation]
    if any(len(polygon) < 6 or len(polygon) % 2 for polygon in polygons):
        raise ValueError("a polygon needs three points or more")
    if not np.isfinite(np.concatenate(polygons)).all():
        raise ValueError("a polygon holds a number that is not finite")
    return polygons


def checked_keypoints(numbers: Any, count: int) -> list[float] | None:
    """Return the 3 × count numbers of COCO `keypoints`; None if there are none.

    Raises:
        ValueError: there are more or fewer numbers, or a number is not finite.
    """
    if not numbers:
        return None
    values = [float(number) for number in numbers]
    if len(values) != 3 * count or not np.isfinite(values).all():
        raise ValueError(f"keypoints must be {count} times x, y and visibility")
    return values


def outline_mask(
    outline: Any,
    box_xyxy: NDArray[np.float64],
    stated_hw: Size,
    image_hw: tuple[int, int],
    orientation: int,
) -> Mask:
    """Return the mask of an outline in an upright image, with exactly the pixels that the COCO API sets.

    Args:
        outline: as checked_outline returns it; None: the mask is the object's box.
        box_xyxy: the object's box (4,) in pixels of the upright image.
        stated_hw: the image's (height, width) as the labels state it; None: that of the upright image.
        image_hw: (height, width) of the upright image.
        orientation: the EXIF orientation of the stored image, 1 to 8.

    Raises:
        ValueError: the outline is a mask of another size than the image has.
    """
    if outline is None:
        x1, y1, x2, y2 = np.round(box_xyxy).astype(int).tolist()
        whole = np.zeros(image_hw, dtype=np.bool_)
        whole[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)] = True
        return Mask.of(whole)
    height, width = (round(side) for side in stated_hw or image_hw)
    if isinstance(outline, dict) and outline["size"] != [height, width]:
        raise ValueError(f"a mask has the size {outline['size']}, and its image {[height, width]}")
    encoded = _encoded(outline, height, width)
    whole = coco_mask.decode(encoded).astype(np.bool_)
    if is_turned(stated_hw, image_hw, orientation):
        whole = turned_mask(whole, orientation)
    return Mask.of(whole if whole.shape == image_hw else Mask(0, 0, whole).on(image_hw))


def placed_keypoints(
    numbers: list[float] | None, count: int, stated_hw: Size, image_hw: tuple[int, int], orientation: int
) -> NDArray[np.float32]:
    """Return keypoints (P, 3) in pixels of the upright image; points that are not labelled are zeros.

    Args:
        numbers: as checked_keypoints returns them.
        count: P.
        stated_hw, image_hw, orientation: as in outline_mask.
    """
    points = np.array(numbers or [0.0] * 3 * count, dtype=np.float64).reshape(count, 3)
    if is_turned(stated_hw, image_hw, orientation):
        points[:, :2] = turned_points(points[:, :2], image_hw, orientation)
    points[points[:, 2] <= 0] = 0
    return points.astype(np.float32)


def _encoded(outline: Any, height: int, width: int) -> Any:
    """Return an outline as one compressed run-length encoding of the COCO API."""
    if isinstance(outline, list):
        return coco_mask.merge(coco_mask.frPyObjects(outline, height, width))
    if isinstance(outline["counts"], list):
        return coco_mask.frPyObjects(outline, height, width)
    return {"size": outline["size"], "counts": outline["counts"].encode()}
