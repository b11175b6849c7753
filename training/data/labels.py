"""The labels of many images in flat arrays, so that millions of boxes cost bytes and no Python objects."""

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
    """The rows of image i are starts[i] to starts[i + 1]."""

    boxes_xyxy: NDArray[np.float64]  # (M, 4) as written: pixels, or fractions of the image
    class_ids: NDArray[np.int64]  # (M,) ANY_CLASS only where ignored
    ignored: NDArray[np.bool_]  # (M,) a region whose objects count neither as right nor as wrong
    areas: NDArray[np.float64]  # (M,) as stated, of an object's outline; NaN where nothing is stated
    starts: NDArray[np.int64]  # (images + 1,)

    def rows(self, image: int) -> slice:
        """Return where the rows of one image are."""
        return slice(int(self.starts[image]), int(self.starts[image + 1]))


class LabelRows:
    """Collects boxes one by one, images in any order.

    Attributes:
        remarks: what was met on the way, for the reader to add to.
    """

    def __init__(self) -> None:
        self.remarks: Counter[str] = Counter()
        self._ids = array("q")  # image, class, whether ignored
        self._numbers = array("d")  # x1, y1, x2, y2, area

    def add(
        self,
        image: int,
        box_xyxy: tuple[float, float, float, float],
        class_id: int,
        *,
        ignored: str | None = None,
        area: float = nan,
        image_hw: tuple[float, float] | None = None,
    ) -> None:
        """Keep a box, unless it has no area or lies wholly outside, which is remarked.

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
        self._ids.extend((image, class_id, ignored is not None))
        self._numbers.extend((*box_xyxy, area))

    def table(self, images: int) -> LabelTable:
        """Return all rows, those of an image in the order in which they were added."""
        ids = np.array(self._ids, dtype=np.int64).reshape(-1, 3)
        numbers = np.array(self._numbers, dtype=np.float64).reshape(-1, 5)
        order = np.argsort(ids[:, 0], kind="stable")
        owner, class_ids, ignored = ids[order].T
        boxes_xyxy, areas = numbers[order, :4], numbers[order, 4]
        return LabelTable(
            boxes_xyxy, class_ids, ignored > 0, areas, np.searchsorted(owner, np.arange(images + 1))
        )
