"""Groups of images that a router might tell apart: by where they come from, by crowding, by class."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.data.combined import CombinedDataset
from training.data.sample import Dataset
from training.data.scenes import REGIMES, ScenesDataset

TERTILES = 3


@dataclass(frozen=True, eq=False)
class Grouping:
    """A division of a data set into at least two groups, none of them empty."""

    name: str  # origin, density or class
    labels: tuple[str, ...]  # of each group
    ids: NDArray[np.int64]  # (images,)  the group of each


def group_images(
    dataset: Dataset,
    boxes_per_image: NDArray[np.int64],
    image_classes: NDArray[np.int64] | None = None,
) -> tuple[Grouping, ...]:
    """Return every grouping that a data set has: by origin, by density, by the class of its images."""
    by_class = None if image_classes is None else _grouping("class", dataset.class_names, image_classes)
    found = (origin_groups(dataset), density_groups(boxes_per_image), by_class)
    return tuple(grouping for grouping in found if grouping is not None)


def origin_groups(dataset: Dataset) -> Grouping | None:
    """Return groups by the data set of an image, of scenes by their kind; None if there is one origin."""
    match dataset:
        case CombinedDataset():
            names = dataset.origins
            ids = [dataset.origin_of(index) for index in range(len(dataset))]
        case ScenesDataset():
            names = REGIMES
            ids = [REGIMES.index(dataset.regime(index)) for index in range(len(dataset))]
        case _:
            return None
    return _grouping("origin", names, np.array(ids, dtype=np.int64))


def density_groups(boxes_per_image: NDArray[np.int64]) -> Grouping | None:
    """Return tertiles of boxes per image; None if every image holds as many.

    Images with as many boxes are always in one group, so that a group is said by its numbers: all images of
    one number go where the middle of them falls, into the first, second or last third. Groups are therefore
    of unequal sizes where numbers repeat, and one may be missing; two different numbers make two groups.
    """
    counts = np.asarray(boxes_per_image)
    values, which, images = np.unique(counts, return_inverse=True, return_counts=True)
    middle = (np.cumsum(images) - images / 2) / len(counts)  # of each number's images, 0..1
    tertile = np.minimum((middle * TERTILES).astype(np.int64), TERTILES - 1)
    labels = []
    for index in range(TERTILES):
        within = values[tertile == index]
        labels.append(_range(int(within[0]), int(within[-1])) if len(within) else "")
    return _grouping("density", tuple(labels), tertile[which.reshape(-1)])


def _range(low: int, high: int) -> str:
    if low == high:
        return f"{low} box{'' if low == 1 else 'es'}"
    return f"{low} to {high} boxes"


def _grouping(name: str, labels: tuple[str, ...], ids: NDArray[np.int64]) -> Grouping | None:
    """Return a grouping without empty groups; None if fewer than two are left."""
    present, renumbered = np.unique(ids, return_inverse=True)
    if len(present) < 2:
        return None
    return Grouping(name, tuple(labels[index] for index in present), renumbered.reshape(-1))
