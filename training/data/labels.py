"""The labels of many pictures in flat arrays, so that millions of boxes cost bytes and no Python objects."""

from array import array
from collections import Counter
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

from training.data.remarks import CLIPPED, NO_AREA, OUTSIDE

ANY_CLASS = -1  # of an ignored region that may hold objects of every class
EDGE_TOLERANCE_PX = 1.0  # formats round; a box this little over the edge is not worth a remark


@dataclass(frozen=True, eq=False)
class LabelTable:
    """The rows of picture i are starts[i] to starts[i + 1]."""

    boxes_xyxy: NDArray[np.float64]  # (M, 4) as written: pixels, or fractions of the picture
    class_ids: NDArray[np.int64]  # (M,) ANY_CLASS only where ignored
    ignored: NDArray[np.bool_]  # (M,) a region whose objects count neither as right nor as wrong
    areas: NDArray[np.float64]  # (M,) as stated, of an object's outline; NaN where nothing is stated
    starts: NDArray[np.int64]  # (pictures + 1,)

    def rows(self, picture: int) -> slice:
        """The rows of one picture."""
        return slice(int(self.starts[picture]), int(self.starts[picture + 1]))

    def pictures_without_rows(self) -> int:
        """How many pictures have no label at all."""
        return int((np.diff(self.starts) == 0).sum())


class LabelRows:
    """Collects boxes one by one, pictures in any order.

    Attributes:
        remarks: what was met on the way, for the reader to add to.
    """

    def __init__(self) -> None:
        self.remarks: Counter[str] = Counter()
        self._pictures = array("q")
        self._boxes = array("d")
        self._class_ids = array("q")
        self._ignored = array("b")
        self._areas = array("d")

    def add(
        self,
        picture: int,
        box_xyxy: tuple[float, float, float, float],
        class_id: int,
        *,
        ignored: str | None = None,
        area: float = nan,
        image_hw: tuple[float, float] | None = None,
    ) -> None:
        """Keep a box, unless it has no area or lies wholly outside; either is remarked.

        Args:
            ignored: the remark that says why this is a region to ignore; None: an object.
            area: of the object's outline, as stated; NaN: that of the box.
            image_hw: as the labels state it; None: they do not, and boxes are clipped when loaded.
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
        self._pictures.append(picture)
        self._boxes.extend(box_xyxy)
        self._class_ids.append(class_id)
        self._ignored.append(ignored is not None)
        self._areas.append(area)

    def table(self, pictures: int) -> LabelTable:
        """All rows, those of a picture in the order in which they were added."""
        owner = np.array(self._pictures, dtype=np.int64)
        order = np.argsort(owner, kind="stable")
        return LabelTable(
            boxes_xyxy=np.array(self._boxes, dtype=np.float64).reshape(-1, 4)[order],
            class_ids=np.array(self._class_ids, dtype=np.int64)[order],
            ignored=np.array(self._ignored, dtype=np.bool_)[order],
            areas=np.array(self._areas, dtype=np.float64)[order],
            starts=np.searchsorted(owner[order], np.arange(pictures + 1)).astype(np.int64),
        )
