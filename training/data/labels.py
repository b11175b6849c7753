"""Holds the labels of many images in one buffer, so that millions of boxes need no Python objects."""

from collections import Counter
from math import nan
from struct import Struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.label_shapes import ShapeTexts
from training.data.remarks import CLIPPED, NO_AREA, OUTSIDE

ANY_CLASS = -1  # class id of a region that is ignored for every class
EDGE_TOLERANCE_PX = 1.0  # a box beyond the edge by at most this much is rounding, not worth a remark
ROW = np.dtype(
    [
        ("image", np.int64),
        ("class_id", np.int64),  # ANY_CLASS only where ignored
        ("ignored", np.bool_),  # a region whose objects count neither as right nor as wrong
        ("box_xyxy", np.float64, (4,)),  # as written: pixels, or fractions of the image
        ("area", np.float64),  # stated area of the object's outline; NaN if none is stated
        ("shape", np.int64),  # its number in LabelRows.shapes; -1: none
    ]
)
PACKED = Struct("=qq?5dq")  # the layout of ROW


class LabelRows:
    """Collects boxes in any order of images; `remarks` counts boxes that are left out, ignored or clipped."""

    def __init__(self) -> None:
        self.remarks: Counter[str] = Counter()
        self.shapes = ShapeTexts()
        self._rows = bytearray()

    def add(
        self,
        image: int,
        box_xyxy: tuple[float, float, float, float],
        class_id: int,
        *,
        ignored: str | None = None,
        area: float = nan,
        shape: Any = None,
        image_hw: tuple[float, float] | None = None,
    ) -> None:
        """Add a box; if it has no area or is wholly outside its image, only count it in `remarks`.

        Args:
            image: the number of the image.
            box_xyxy: the box as the labels state it; it is clipped when the image is loaded.
            ignored: the reason, one of remarks.py, why the box is a region to ignore; None: it is an object.
            area: the stated area of the object's outline; NaN: use the box's area.
            shape: the object's outline or keypoints, if they are read; None: it has none.
            image_hw: the image's (height, width) as the labels state it; None: not stated.
        """
        x1, y1, x2, y2 = box_xyxy
        if not (x2 > x1 and y2 > y1):
            self.remarks[NO_AREA] += 1
            return
        if image_hw is not None:
            height, width = image_hw
            if x1 >= width or y1 >= height or x2 <= 0 or y2 <= 0:
                self.remarks[OUTSIDE] += 1
                return
            over = max(-x1, -y1, x2 - width, y2 - height)
            self.remarks[CLIPPED] += over > EDGE_TOLERANCE_PX
        if ignored is not None:
            self.remarks[ignored] += 1
        number = -1 if shape is None else self.shapes.add(shape)
        self._rows += PACKED.pack(image, class_id, ignored is not None, *box_xyxy, area, number)

    def by_image(self, images: int) -> list[NDArray[np.void]]:
        """Return the rows of each image as an array of ROW, in the order in which they were added."""
        rows = np.frombuffer(self._rows, dtype=ROW)
        rows = rows[np.argsort(rows["image"], kind="stable")]
        return np.split(rows, np.searchsorted(rows["image"], np.arange(1, images)))
