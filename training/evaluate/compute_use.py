"""The GFLOPs that images use with their chosen experts, and how the GFLOPs depend on the number of boxes."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.evaluate.groups import Grouping
from training.models.cost import Cost

SAME = 1e-9  # relative to the mean; smaller differences between costs are rounding errors


@dataclass(frozen=True)
class ComputeUse:
    """The GFLOPs that images used, counted as in models.cost, without the experts that did not run."""

    dense: float  # with every expert
    fixed: float  # of the layers that always run
    mean: float
    least: float
    most: float
    by_density: Mapping[str, float]  # mean of each group of images by boxes; empty without groups
    pearson: float | None  # correlation of GFLOPs and boxes; None if either is the same for every image
    spearman: float | None  # the same, of ranks


def used_gflops(cost: Cost, gates: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float64]:
    """Return the GFLOPs of each image, (N,): the sum of the fixed cost and the cost of the chosen experts.

    An expert is chosen for an image if its gate is above 0.

    Args:
        gates: the gates of each mixture layer, (N, E).
    """
    chosen = [(gate > 0) @ np.array(cost.experts[layer]) for layer, gate in gates.items()]
    return np.asarray(cost.fixed + np.sum(chosen, axis=0), dtype=np.float64)


def compute_use(
    cost: Cost, used: NDArray[np.float64], boxes_per_image: NDArray[np.int64], density: Grouping | None
) -> ComputeUse:
    """Return a summary of the GFLOPs that the images used.

    Args:
        used: GFLOPs of each image, (N,).
        boxes_per_image: number of labelled objects in each image, (N,).
        density: the images, grouped by number of boxes; None if all images would be in one group.
    """
    by_density = {}
    if density is not None:
        for group, label in enumerate(density.labels):
            by_density[label] = float(used[density.ids == group].mean())
    boxes = boxes_per_image.astype(np.float64)
    return ComputeUse(
        dense=cost.dense,
        fixed=cost.fixed,
        mean=float(used.mean()),
        least=float(used.min()),
        most=float(used.max()),
        by_density=by_density,
        pearson=_correlation(boxes, used),
        spearman=_correlation(_ranks(boxes), _ranks(used)),
    )


def _correlation(x: NDArray[np.float64], y: NDArray[np.float64]) -> float | None:
    if any(np.ptp(values) <= SAME * abs(values.mean()) for values in (x, y)):
        return None
    return float(np.corrcoef(x, y)[0, 1])


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ranks in ascending order, after rounding to 9 digits; equal values share their mean rank."""
    _, which, counts = np.unique(values.round(9), return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts - 1) / 2
    return np.asarray(middle[which.reshape(-1)])
