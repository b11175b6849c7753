"""The mask of one object: the pixels that belong to it, as a bitmap in a window or as run lengths."""

from typing import Any, NamedTuple, Self

import numpy as np
from faster_coco_eval import mask_api_new_cpp as mask_api
from faster_coco_eval.core import mask as coco_mask
from numpy.typing import NDArray


class Mask(NamedTuple):
    """The pixels of an object. The window `bitmap` holds all of them, and may extend beyond the image."""

    left: int  # of the window in the image, pixels
    top: int
    bitmap: NDArray[np.bool_]  # (h, w)

    def on(self, image_hw: tuple[int, int]) -> NDArray[np.bool_]:
        """Return the mask at the size of the image, (H, W); pixels beyond the image are cut off."""
        whole = np.zeros(image_hw, dtype=np.bool_)
        left, top, bitmap = self.inside(image_hw)
        whole[top : top + bitmap.shape[0], left : left + bitmap.shape[1]] = bitmap
        return whole

    def inside(self, image_hw: tuple[int, int]) -> Self:
        """Return the mask with the part of its window that is in the image."""
        (height, width), (image_height, image_width) = self.bitmap.shape, image_hw
        y1, x1 = min(max(0, self.top), image_height), min(max(0, self.left), image_width)
        y2, x2 = max(y1, min(image_height, self.top + height)), max(x1, min(image_width, self.left + width))
        part = self.bitmap[y1 - self.top : y2 - self.top, x1 - self.left : x2 - self.left]
        return type(self)(x1, y1, part)

    @classmethod
    def of(cls, whole: NDArray[np.bool_]) -> Self:
        """Return the mask of an image-sized array (H, W), with the smallest window that holds its pixels."""
        rows, columns = np.flatnonzero(whole.any(axis=1)), np.flatnonzero(whole.any(axis=0))
        if not len(rows):
            return cls(0, 0, np.zeros((0, 0), dtype=np.bool_))
        top, left = int(rows[0]), int(columns[0])
        return cls(left, top, whole[top : rows[-1] + 1, left : columns[-1] + 1].copy())


class RunLengths(NamedTuple):
    """A mask as the COCO API's compressed run lengths: far smaller than a bitmap."""

    image_hw: tuple[int, int]
    counts: bytes

    @classmethod
    def of(cls, mask: Mask, image_hw: tuple[int, int]) -> Self:
        """Return the run lengths of a mask in an image; pixels beyond the image are cut off."""
        # The window alone is looked at: an image of 12 megapixels can hold many small objects.
        height, (left, top, bitmap) = image_hw[0], mask.inside(image_hw)
        columns = np.pad(bitmap.T.astype(np.int8), ((0, 0), (1, 1)))  # (w, 1 + h + 1)
        steps = np.diff(columns, axis=1)  # 1 where a run begins, -1 after its end
        column, row = np.nonzero(steps)  # runs go down the columns, from left to right
        places = (left + column) * height + top + row
        # A run to the lower edge of the image continues in the next column.
        goes_on = places[1:-1:2] == places[2::2]
        kept = np.ones(len(places), dtype=np.bool_)
        kept[1:-1:2], kept[2::2] = ~goes_on, ~goes_on
        counts = np.diff(places[kept], prepend=0, append=image_hw[0] * image_hw[1]).tolist()
        if not counts[-1]:  # the last pixel of the image belongs to the object
            del counts[-1]
        encoded: Any = coco_mask.frPyObjects([{"size": list(image_hw), "counts": counts}], *image_hw)
        return cls(image_hw, bytes(encoded[0]["counts"]))

    @property
    def coco(self) -> dict[str, object]:
        """Return the mask as the COCO API takes it."""
        return {"size": list(self.image_hw), "counts": self.counts}

    def bitmap(self) -> NDArray[np.bool_]:
        """Return the mask at the size of the image, (H, W)."""
        return np.asarray(coco_mask.decode(self.coco)).astype(np.bool_)

    def mask(self) -> Mask:
        """Return the mask with the smallest window that holds its pixels."""
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
