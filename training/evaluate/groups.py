"""Group images by properties that a router might distinguish: origin, number of boxes, class."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from training.data.combined import CombinedDataset
from training.data.sample import Dataset
from training.data.scenes.scenes import REGIMES, ScenesDataset

TERTILES = 3


@dataclass(frozen=True, eq=False)
class Grouping:
    """A division of a data set into at least two groups; no group is empty."""

    name: str  # origin, density or class
    labels: tuple[str, ...]  # of each group
    ids: NDArray[np.int64]  # (images,)  the group of each image


def group_images(
    dataset: Dataset,
    boxes_per_image: NDArray[np.int64],
    image_classes: NDArray[np.int64] | None = None,
) -> tuple[Grouping, ...]:
    """Return the groupings that a data set's images allow: by origin, by number of boxes, by class."""
    by_class = None if image_classes is None else _grouping("class", dataset.class_names, image_classes)
    found = (origin_groups(dataset), density_groups(boxes_per_image), by_class)
    return tuple(grouping for grouping in found if grouping is not None)


def origin_groups(dataset: Dataset) -> Grouping | None:
    """Group the images of a combined data set by source, and generated scenes by kind of scene.

    Return None for other data, and if there is only one group.
    """
    images = range(len(dataset))
    match dataset:
        case CombinedDataset():
            return _grouping("origin", dataset.origins, [dataset.origin_of(index) for index in images])
        case ScenesDataset():
            return _grouping("origin", REGIMES, [REGIMES.index(dataset.regime(index)) for index in images])
        case _:
            return None


def density_groups(boxes_per_image: NDArray[np.int64]) -> Grouping | None:
    """Group images by few, some or many boxes; return None if all images have the same number of boxes.

    The images are sorted by number of boxes and divided into thirds. If a boundary separates images with the
    same number of boxes, all of these images go to the third that contains the middle one of them. So the
    groups may have unequal sizes, and there may be only two groups.
    """
    values, which, images = np.unique(boxes_per_image, return_inverse=True, return_counts=True)
    middle = (np.cumsum(images) - images / 2) / len(boxes_per_image)  # of each number's images, 0..1
    tertile = np.minimum((middle * TERTILES).astype(np.int64), TERTILES - 1)
    labels = [_range(values[tertile == index].tolist()) for index in range(TERTILES)]
    return _grouping("density", labels, tertile[which.reshape(-1)])


def _range(counts: list[int]) -> str:
    ends = dict.fromkeys((*counts[:1], *counts[-1:]))  # one or two
    return " to ".join(map(str, ends)) + (" box" if counts == [1] else " boxes")


def _grouping(name: str, labels: Sequence[str], ids: ArrayLike) -> Grouping | None:
    """Return a grouping without empty groups; None if fewer than two groups are left."""
    present, renumbered = np.unique(ids, return_inverse=True)
    if len(present) < 2:
        return None
    return Grouping(name, tuple(labels[index] for index in present), renumbered.reshape(-1))
