"""The mask of one object: the pixels that belong to it, inside a window of its image."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Mask(NamedTuple):
    """The pixels of an object. The window `bitmap` holds all of them, and may extend beyond the image."""

    left: int  # of the window in the image, pixels
    top: int
    bitmap: NDArray[np.bool_]  # (h, w)

    def on(self, image_hw: tuple[int, int]) -> NDArray[np.bool_]:
        """Return the mask at the size of the image, (H, W); pixels beyond the image are cut off."""
        whole = np.zeros(image_hw, dtype=np.bool_)
        height, width = self.bitmap.shape
        y1, x1 = max(0, self.top), max(0, self.left)
        y2, x2 = min(image_hw[0], self.top + height), min(image_hw[1], self.left + width)
        if y2 > y1 and x2 > x1:
            whole[y1:y2, x1:x2] = self.bitmap[y1 - self.top : y2 - self.top, x1 - self.left : x2 - self.left]
        return whole

    @classmethod
    def of(cls, whole: NDArray[np.bool_]) -> "Mask":
        """Return the mask of an image-sized array (H, W), with the smallest window that holds its pixels."""
        rows, columns = np.flatnonzero(whole.any(axis=1)), np.flatnonzero(whole.any(axis=0))
        if not len(rows):
            return cls(0, 0, np.zeros((0, 0), dtype=np.bool_))
        top, left = int(rows[0]), int(columns[0])
        return cls(left, top, whole[top : rows[-1] + 1, left : columns[-1] + 1].copy())
