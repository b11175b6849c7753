"""How often each picture is shown in an epoch, so that rare classes are seen more often.

Source: repeat factor sampling, Gupta et al. 2019, LVIS, arXiv:1908.03195, section 5.1.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from training.data.sample import Dataset


@runtime_checkable
class KnowsClasses(Protocol):
    """A data set that can tell the classes of a picture without decoding it."""

    def class_ids(self, index: int) -> NDArray[np.int64]:
        """(N,) of the labelled objects."""
        ...


def class_ids_of(dataset: Dataset, index: int) -> NDArray[np.int64]:
    """Class ids (N,) of a picture's objects. Raises DatasetError: it had to be decoded, and cannot be."""
    if isinstance(dataset, KnowsClasses):
        return dataset.class_ids(index)
    return dataset.load(index).labelled_classes


def repeat_factors(class_ids: Sequence[NDArray[np.int64]], threshold: float) -> NDArray[np.float64]:
    """How often each picture stands in an epoch on average, (I,), at least 1.

    A class that is in a share f of the pictures asks for √(threshold / f) times as many of them where that
    is more than 1; a picture gets what the most demanding of its classes asks for, and 1 without objects.

    Args:
        class_ids: of the objects of each picture.
        threshold: 0..1; classes in at least this share of the pictures ask for nothing. 0: nobody does.
    """
    present = [np.unique(ids) for ids in class_ids]
    pictures = np.bincount(np.concatenate(present)) if present else np.zeros(0)  # (C,) that hold the class
    share = pictures / len(class_ids)
    asked = np.sqrt(np.divide(threshold, share, out=np.zeros_like(share), where=share > 0)).clip(min=1)
    return np.array([asked[ids].max(initial=1.0) for ids in present])


def repeated(factors: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Indices of one epoch, in ascending order: each as often as its factor, the fraction left to chance."""
    times = np.floor(factors).astype(np.int64)
    fraction = factors - times
    if fraction.any():  # otherwise nothing is drawn, and the shuffle that follows is that of a plain epoch
        times += rng.random(len(factors)) < fraction
    return np.repeat(np.arange(len(factors)), times)
