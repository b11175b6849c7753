"""Holds the labels of many images in one buffer, so that millions of boxes need no Python objects."""

from array import array
from collections import Counter
from math import nan
from struct import Struct

import numpy as np
from numpy.typing import NDArray

from training.data.labels.remarks import CLIPPED, NO_AREA, OUTSIDE, WITHOUT
from training.data_config import LabelKind

ANY_CLASS = -1  # class id of a region that is ignored for every class
EDGE_TOLERANCE_PX = 1.0  # a box that exceeds the edge by at most this is only rounded, so no remark
ROW = np.dtype(
    [
        ("image", np.int64),
        ("class_id", np.int64),  # ANY_CLASS only where ignored
        ("ignored", np.bool_),  # a region whose objects count neither as right nor as wrong
        ("box_xyxy", np.float64, (4,)),  # as written: pixels, or fractions of the image
        ("area", np.float64),  # stated area of the object's outline; NaN if none is stated
    ]
)
PACKED = Struct("=qq?5d")  # the layout of ROW


class LabelRows:
    """Collects the boxes of images, in any order; `remarks` counts boxes left out, ignored or clipped.

    If `labels` asks for masks, keypoints or oriented boxes, they are kept as bytes, in addition to the boxes.
    """

    def __init__(self, labels: LabelKind = "boxes") -> None:
        self.labels = labels
        self.remarks: Counter[str] = Counter()
        self._shapes = bytearray()
        self._ends = array("q")  # of each row in _shapes; empty if only boxes are kept
        self._rows = bytearray()

    def add(
        self,
        image: int,
        box_xyxy: tuple[float, float, float, float],
        class_id: int,
        *,
        ignored: str | None = None,
        area: float = nan,
        image_hw: tuple[float, float] | None = None,
        shape: bytes = b"",
    ) -> None:
        """Add a box; a box that has no area or is wholly outside its image is only counted in `remarks`.

        Args:
            image: the number of the image.
            box_xyxy: the box as the labels state it; it is clipped when the image is loaded.
            ignored: why the box is a region to ignore, one of the texts in remarks.py; None: it is an object.
            area: the area that the labels state for the object; NaN: use the box's area.
            image_hw: the (height, width) that the labels state for the image; None: they state none.
            shape: the mask, keypoints or corners, packed by object_shapes.py; empty: the labels state none.
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
        self._rows += PACKED.pack(image, class_id, ignored is not None, *box_xyxy, area)
        if self.labels != "boxes":
            self.remarks[WITHOUT[self.labels]] += not shape and ignored is None
            self._shapes += shape
            self._ends.append(len(self._shapes))

    def by_image(self, images: int) -> list[NDArray[np.void]]:
        """Return the rows of each image as an array of ROW, in the order in which they were added."""
        rows = np.frombuffer(self._rows, dtype=ROW)
        rows = rows[np.argsort(rows["image"], kind="stable")]
        return np.split(rows, np.searchsorted(rows["image"], np.arange(1, images)))

    def shapes(self) -> "PackedShapes":
        """Return the masks, keypoints or corners of the rows, in the order of `by_image`."""
        order = np.argsort(np.frombuffer(self._rows, dtype=ROW)["image"], kind="stable")
        ends = np.frombuffer(self._ends, dtype=np.int64)
        starts = np.concatenate([np.zeros(1, dtype=np.int64), ends])[:-1]
        return PackedShapes(bytes(self._shapes), np.stack([starts, ends], axis=1)[order])


class PackedShapes:
    """The masks, keypoints or corners of many objects, as bytes."""

    def __init__(self, packed: bytes, spans: NDArray[np.int64]) -> None:
        """Keep the bytes of all objects; `spans` (N, 2) says where the bytes of each begin and end."""
        self._packed = packed
        self._spans = spans

    def of(self, places: NDArray[np.int64]) -> list[bytes]:
        """Return the bytes of the objects at some positions; they are empty if the labels state none."""
        return [self._packed[start:end] for start, end in self._spans[places].tolist()]
