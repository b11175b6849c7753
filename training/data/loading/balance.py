"""Shows images of rare classes more often in an epoch.

Source: repeat factor sampling, Gupta et al. 2019, LVIS, arXiv:1908.03195, section 5.1.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def repeat_factors(class_ids: Sequence[NDArray[np.int64]], threshold: float) -> NDArray[np.float64]:
    """Return how often each image is shown per epoch on average, (I,), at least 1.

    A class that occurs in a share f of the images has the factor max(1, √(threshold / f)). The factor of an
    image is the largest factor of its classes. It is 1 if the image has no objects.

    Args:
        class_ids: for each image, the class ids of its objects.
        threshold: 0..1. A class that occurs in at least this share of the images has the factor 1. If
            threshold is 0, all classes have the factor 1.
    """
    present = [np.unique(ids) for ids in class_ids]
    holding = np.bincount(np.concatenate(present)) if present else np.zeros(0)  # (C,) images with the class
    share = holding / len(class_ids)
    of_class = np.sqrt(np.divide(threshold, share, out=np.zeros_like(share), where=share > 0)).clip(min=1)
    return np.array([of_class[ids].max(initial=1.0) for ids in present])


def repeated(factors: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the image indices of one epoch in ascending order, each repeated as its factor says.

    For example, an image with the factor 2.3 is shown twice, and a third time with probability 0.3.
    """
    times = np.floor(factors).astype(np.int64)
    fraction = factors - times
    if fraction.any():  # otherwise draw no random numbers, so that an unbalanced epoch stays the same
        times += rng.random(len(factors)) < fraction
    return np.repeat(np.arange(len(factors)), times)
