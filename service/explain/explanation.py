"""Define the result of an explanation."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class LayerExplanation:
    """The regions that moved one mixture layer towards its most probable expert, or away from it.

    The falls say by how much the log-odds of this expert become smaller when a part of the image is hidden.
    They are measured with further runs, so a caller can see whether the map is right for this image.
    """

    layer: str  # "path" for the path of a model with paths
    expert: int  # the layer's most probable expert, or the path
    log_odds: float  # of this expert, for the whole image
    effects: NDArray[np.float64]  # (rows, cols): how much of the log-odds each cell contributes
    marked_fall: float  # when the MARKED share of the cells with the largest effects is hidden
    random_fall: float  # when as many random cells are hidden; mean of several draws
    whole_fall: float  # when the whole image is hidden


@dataclass(frozen=True)
class Explanation:
    """The explanation of an image's route: a grid of cells over the image, with effects for each layer."""

    box_xywh: tuple[float, float, float, float]  # left, top, width and height of the grid, in image pixels
    layers: tuple[LayerExplanation, ...]
    runs: int  # number of images for which the graph ran
    seconds: float
