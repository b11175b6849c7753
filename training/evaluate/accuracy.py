"""Top-1 and top-5 accuracy."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MOST = 5  # ranks that top5 counts; with five classes or fewer, top5 is 1

# N images · C classes


class Accuracy(NamedTuple):
    """Top-1 and top-5 accuracy, as fractions of the images from 0 to 1."""

    top1: float  # the likeliest class is right
    top5: float  # the right class is among the five likeliest
    by_class: Mapping[str, float | None]  # top1 of the images of each class; None: the class has no image


def accuracy(
    probabilities: NDArray[np.floating], class_ids: NDArray[np.int64], class_names: Sequence[str]
) -> Accuracy:
    """Return the accuracy of predicted probabilities.

    Args:
        probabilities: (N, C), at least one image. Among equal probabilities, the first class ranks first.
        class_ids: the labelled class of each image, (N,).
    """
    own = probabilities[np.arange(len(class_ids)), class_ids][:, None]  # (N, 1)
    before = np.arange(probabilities.shape[1])[None] < class_ids[:, None]  # (N, C)
    rank = ((probabilities > own) | ((probabilities == own) & before)).sum(axis=1)  # (N,) from 0
    right = rank == 0
    by_class = {
        name: float(right[class_ids == class_id].mean()) if (class_ids == class_id).any() else None
        for class_id, name in enumerate(class_names)
    }
    return Accuracy(float(right.mean()), float((rank < MOST).mean()), by_class)
