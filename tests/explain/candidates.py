"""Maps to compare with those of the service: they say how much each cell matters, without the router.

A map is (layers, rows, cols) or (rows, cols); cells with higher values are hidden earlier.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from service.explain.attribution import Masks, effects, plan
from service.explain.grid import Grid, mean_fill
from tests.explain.images import Router, Sample

GREY = 114  # of the letterbox's padding
FILLS = ("mean", "grey")


class Probe:
    """One image, and by how much the routers' log-odds fall when cells are hidden."""

    def __init__(self, router: Router, sample: Sample, longest: int) -> None:
        """Run the whole image, to know each layer's most probable expert."""
        self.router, self.sample = router, sample
        self.grid = Grid.fit(sample.region, longest)
        canvas = sample.placed.canvas
        self.experts = router.probabilities(canvas).argmax(axis=1)
        self.whole = router.log_odds(canvas, self.experts)
        self._fills = {"mean": mean_fill(canvas, sample.region), "grey": np.full_like(canvas, GREY)}

    def falls(self, masks: Masks, fill: str) -> NDArray[np.float64]:
        """Return by how much the log-odds fall for each mask, (N, layers)."""
        hidden = (self.hidden(mask, fill) for mask in masks)
        return self.whole - np.array([self.router.log_odds(one, self.experts) for one in hidden])

    def hidden(self, mask: NDArray[np.bool_], fill: str) -> NDArray[np.uint8]:
        """Return the model input with the cells of a mask hidden."""
        return self.grid.hide(self.sample.placed.canvas, mask, self._fills[fill])

    @property
    def inside(self) -> NDArray[np.uint8]:
        """Return the image without the padding, (H, W, 3)."""
        region = self.sample.region
        rows = slice(region.top, region.top + region.height)
        cols = slice(region.left, region.left + region.width)
        return np.ascontiguousarray(self.sample.placed.canvas[0, rows, cols])


def of_the_service(probe: Probe, masks: Masks | None = None) -> NDArray[np.float64]:
    """Return the effects as the service calculates them, from its own masks unless others are given."""
    masks = plan(probe.grid) if masks is None else masks
    return effects(masks, probe.falls(masks, "mean"))


def at_random(seed: int) -> Callable[[Probe], NDArray[np.float64]]:
    """Return a function that gives the cells a random order."""
    return lambda probe: np.random.default_rng(seed).random((probe.grid.rows, probe.grid.cols))


def local_variance(probe: Probe) -> NDArray[np.float64]:
    """Return the variance of the grey values in each cell."""
    grey = _grey(probe)
    return _by_cell(probe.grid, grey**2) - _by_cell(probe.grid, grey) ** 2


def edges(probe: Probe) -> NDArray[np.float64]:
    """Return the mean magnitude of the grey values' gradient in each cell."""
    dx, dy = (cv2.Sobel(_grey(probe), cv2.CV_64F, *step, ksize=3) for step in ((1, 0), (0, 1)))
    return _by_cell(probe.grid, np.hypot(dx, dy))


def centre(probe: Probe) -> NDArray[np.float64]:
    """Return a map that is highest in the middle of the image."""
    rows, cols = (np.linspace(-1, 1, count) for count in (probe.grid.rows, probe.grid.cols))
    return -np.hypot(rows[:, None], cols[None, :])


BASELINES: dict[str, Callable[[Probe], NDArray[np.float64]]] = {
    "random cells": at_random(0),
    "local variance": local_variance,
    "edges": edges,
    "the middle of the image": centre,
}


def fitted(effect: NDArray[np.float64], grid: Grid) -> NDArray[np.float64]:
    """Return the map of another image, (layers, rows, cols), stretched to a grid."""
    return np.array([cv2.resize(one, (grid.cols, grid.rows)) for one in effect])


def _by_cell(grid: Grid, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    cells = np.arange(grid.rows * grid.cols).reshape(grid.rows, grid.cols)
    rows = np.arange(grid.region.height) * grid.rows // grid.region.height
    cols = np.arange(grid.region.width) * grid.cols // grid.region.width
    index = cells[rows[:, None], cols[None, :]].ravel()
    return (np.bincount(index, pixels.ravel()) / np.bincount(index)).reshape(grid.rows, grid.cols)


def _grey(probe: Probe) -> NDArray[np.float64]:
    return cv2.cvtColor(probe.inside, cv2.COLOR_RGB2GRAY).astype(np.float64)
