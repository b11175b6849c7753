"""Divide the image in a model input into cells, and hide some of the cells."""

from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from service.pipeline.center_crop import CenterCrop
from service.pipeline.letterbox import Letterbox
from service.pipeline.preprocess import Placed

_BLUR_CELLS = 4  # the blurred image keeps about this number of values along each side


@dataclass(frozen=True)
class Region:
    """The part of the model input (canvas) that shows the image, in pixels of the model input."""

    top: int
    left: int
    height: int
    width: int

    @classmethod
    def of(cls, placed: Placed) -> Self:
        """Return the region without the padding of a letterbox; with a centre crop, the whole input."""
        canvas_h, canvas_w = placed.canvas.shape[1:3]
        match placed.place:
            case Letterbox(scale=scale, left=left, top=top):
                height, width = (max(1, round(side * scale)) for side in placed.source_hw)
                return cls(top, left, min(height, canvas_h - top), min(width, canvas_w - left))
            case CenterCrop():
                return cls(0, 0, canvas_h, canvas_w)


@dataclass(frozen=True)
class Grid:
    """A grid of cells of about equal size over a region of the model input."""

    region: Region
    rows: int
    cols: int

    @classmethod
    def fit(cls, region: Region, longest: int) -> Self:
        """Return a grid of nearly square cells, `longest` of them along the longer side of the region."""
        side = max(region.height, region.width) / longest
        return cls(region, *(max(1, round(length / side)) for length in (region.height, region.width)))

    def pixels(self, cells: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return for each pixel of the region whether its cell is set; `cells` is (rows, cols)."""
        rows = np.arange(self.region.height) * self.rows // self.region.height
        cols = np.arange(self.region.width) * self.cols // self.region.width
        return cells[rows[:, None], cols[None, :]]

    def hide(
        self, canvas: NDArray[np.uint8], hidden: NDArray[np.bool_], fill: NDArray[np.uint8]
    ) -> NDArray[np.uint8]:
        """Return a copy of the model input, (1, H, W, 3), in which `fill` replaces the hidden cells."""
        shown = canvas.copy()
        inside = shown[0, self._rows, self._cols]
        filled = fill[0, self._rows, self._cols]
        mask = self.pixels(hidden)
        inside[mask] = filled[mask]
        return shown

    @property
    def _rows(self) -> slice:
        return slice(self.region.top, self.region.top + self.region.height)

    @property
    def _cols(self) -> slice:
        return slice(self.region.left, self.region.left + self.region.width)


def mean_fill(canvas: NDArray[np.uint8], region: Region) -> NDArray[np.uint8]:
    """Return a model input in the image's mean colour."""
    inside = _inside(canvas, region)
    return np.broadcast_to(inside.mean(axis=(0, 1)).round().astype(np.uint8), canvas.shape)


def blurred_fill(canvas: NDArray[np.uint8], region: Region) -> NDArray[np.uint8]:
    """Return a model input with the image so blurred that only its coarse colours remain."""
    fill = canvas.copy()
    inside = _inside(canvas, region)
    small = cv2.resize(inside, (_BLUR_CELLS, _BLUR_CELLS), interpolation=cv2.INTER_AREA)
    size = (region.width, region.height)
    _inside(fill, region)[:] = cv2.resize(small, size, interpolation=cv2.INTER_LINEAR)
    return fill


def _inside(canvas: NDArray[np.uint8], region: Region) -> NDArray[np.uint8]:
    rows = slice(region.top, region.top + region.height)
    cols = slice(region.left, region.left + region.width)
    return canvas[0, rows, cols]


def box_in_image(placed: Placed) -> tuple[float, float, float, float]:
    """Return left, top, width and height of the image's region, in pixels of the upright image."""
    height, width = placed.source_hw
    match placed.place:
        case Letterbox():
            return 0.0, 0.0, float(width), float(height)
        case CenterCrop(scale=scale, left=left, top=top):
            canvas_h, canvas_w = placed.canvas.shape[1:3]
            return left / scale, top / scale, canvas_w / scale, canvas_h / scale
