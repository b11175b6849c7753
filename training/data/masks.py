"""The mask of one object: the pixels that belong to it, as a bitmap in a window or as run lengths."""

from typing import Any, NamedTuple, Self

import numpy as np
from faster_coco_eval import mask_api_new_cpp as mask_api
from faster_coco_eval.core import mask as coco_mask
from numpy.typing import NDArray


class Mask(NamedTuple):
    """The pixels of an object, in a window `bitmap` that holds all of them and may reach beyond the image."""

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
    def of(cls, whole: NDArray[np.bool_]) -> Self:
        """Return the mask in an array (H, W) of the image's size; its window is as small as possible."""
        rows, columns = np.flatnonzero(whole.any(axis=1)), np.flatnonzero(whole.any(axis=0))
        if not len(rows):
            return cls(0, 0, np.zeros((0, 0), dtype=np.bool_))
        top, left = int(rows[0]), int(columns[0])
        return cls(left, top, whole[top : rows[-1] + 1, left : columns[-1] + 1].copy())


class RunLengths(NamedTuple):
    """A mask as the compressed run lengths of the COCO API, which are far smaller than a bitmap."""

    image_hw: tuple[int, int]
    counts: bytes

    @classmethod
    def of(cls, mask: Mask, image_hw: tuple[int, int]) -> Self:
        """Return the run lengths of a mask in an image; pixels beyond the image are cut off."""
        # Only the columns of the window are searched for runs: objects are far narrower than most images.
        height, width = image_hw
        left, right = (min(max(0, column), width) for column in (mask.left, mask.left + mask.bitmap.shape[1]))
        moved = Mask(mask.left - left, mask.top, mask.bitmap)
        flat = moved.on((height, right - left)).T.reshape(-1)  # runs go down the columns
        changes = left * height + np.flatnonzero(np.diff(flat, prepend=False, append=False))
        runs = np.diff(changes, prepend=0, append=height * width)
        if len(runs) > 1 and runs[-1] == 0:
            runs = runs[:-1]  # the last pixel is set
        whole = {"counts": runs.tolist(), "size": list(image_hw)}
        encoded: Any = coco_mask.frPyObjects(whole, height, width)
        return cls(image_hw, bytes(encoded["counts"]))

    @property
    def coco(self) -> dict[str, object]:
        """Return the mask in the form that the COCO API takes."""
        return {"size": list(self.image_hw), "counts": self.counts}

    def bitmap(self) -> NDArray[np.bool_]:
        """Return the mask at the size of the image, (H, W)."""
        return np.asarray(coco_mask.decode(self.coco)).astype(np.bool_)

    def mask(self) -> Mask:
        """Return the mask as a bitmap in the smallest window around its pixels."""
        height = self.image_hw[0]
        counts = np.array(mask_api.toUncompressedRLE([self.coco])[0]["counts"], dtype=np.int64)
        ends = counts.cumsum()
        if len(counts) < 2:
            return Mask.of(np.zeros((0, 0), dtype=np.bool_))
        first, last = ends[0] // height, (ends[1::2][-1] - 1) // height  # columns with pixels of the object
        runs = np.diff(ends.clip(first * height, (last + 1) * height), prepend=first * height)
        pixels = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
        columns = np.pad(pixels, (0, (last + 1 - first) * height - len(pixels))).reshape(-1, height)
        window = Mask.of(columns.T)
        return window._replace(left=int(first) + window.left)
