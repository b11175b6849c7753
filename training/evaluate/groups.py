"""Group images by properties that a router might distinguish: origin, number of boxes, class."""

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
    """Return groups by the data set that an image is from, or by kind of scene; None if there is one."""
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
    """Return thirds of the images by boxes per image; None if every image holds the same number.

    Images with the same number of boxes are always in one group, so that each group is a range of numbers.
    All images of one number go where the middle of them falls: into the first, second or last third. So
    groups have unequal sizes if numbers repeat, and a group may be missing. Data with only two different
    numbers makes two groups.
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
    """Return a grouping without empty groups; None if fewer than two groups are left."""
    present, renumbered = np.unique(ids, return_inverse=True)
    if len(present) < 2:
        return None
    return Grouping(name, tuple(labels[index] for index in present), renumbered.reshape(-1))
