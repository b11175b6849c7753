"""Data sets made of others: a part of one, or several as one."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from training.data.remarks import Remarks
from training.data.sample import Dataset, Sample
from training.data.view import DatasetView
from training.errors import DatasetError


class FoldedDataset(DatasetView):
    """The images dealt to some of the folds of a data set: image i goes to fold i modulo folds."""

    def __init__(self, dataset: Dataset, folds: int, kept: Sequence[int]) -> None:
        """Keep some of the images; raise DatasetError where none is left."""
        indices = [index for index in range(len(dataset)) if index % folds in kept]
        if not indices:
            raise DatasetError(f"{len(dataset)} images leave none in fold {list(kept)} of {folds}")
        super().__init__(dataset, indices)


class CombinedDataset:
    """Data sets one after the other, their classes as well, unless the parts share them.

    Attributes:
        origins: a name of each part.
    """

    def __init__(
        self, parts: Sequence[Dataset], origins: Sequence[str], *, shared_classes: bool = False
    ) -> None:
        """Raise DatasetError: parts share a class where they must not, or differ where they share all."""
        if shared_classes:
            self.class_names = _shared(parts, origins)
            self._first_classes = [0] * len(parts)
        else:
            self.class_names = _each_once(parts, origins)
            self._first_classes = [0, *accumulate(len(part.class_names) for part in parts)]
        self.origins = tuple(origins)
        self.remarks: Remarks = sum((Counter(part.remarks) for part in parts), Counter())
        self._parts = tuple(parts)
        self._ends = list(accumulate(len(part) for part in parts))

    def __len__(self) -> int:
        return self._ends[-1]

    def load(self, index: int) -> Sample:
        """Return it with class ids of the whole, and the part's name before the image's."""
        part, within = self._place(index)
        sample = self._parts[part].load(within)
        first = self._first_classes[part]
        regions = sample.ignored_class_ids
        return replace(
            sample,
            class_ids=sample.class_ids + first,
            ignored_class_ids=None if regions is None else np.where(regions >= 0, regions + first, regions),
            image_class=None if sample.image_class is None else sample.image_class + first,
            name=f"{self.origins[part]}/{sample.name}",
        )

    def encoded(self, index: int) -> bytes:
        """Return it as its part does."""
        part, within = self._place(index)
        return self._parts[part].encoded(within)

    def class_ids(self, index: int) -> NDArray[np.int64]:
        """Return class ids of the whole."""
        part, within = self._place(index)
        return self._parts[part].class_ids(within) + self._first_classes[part]

    def origin_of(self, index: int) -> int:
        """Return the number of the part that an image is from."""
        return self._place(index)[0]

    def _place(self, index: int) -> tuple[int, int]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        part = bisect_right(self._ends, index)
        return part, index - (self._ends[part - 1] if part else 0)


def _each_once(parts: Sequence[Dataset], origins: Sequence[str]) -> tuple[str, ...]:
    names = tuple(name for part in parts for name in part.class_names)
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DatasetError(
            f"several of {', '.join(origins)} have a class called {', '.join(twice)}; "
            "rename it in all but one"
        )
    return names


def _shared(parts: Sequence[Dataset], origins: Sequence[str]) -> tuple[str, ...]:
    for part, origin in zip(parts, origins, strict=True):
        if part.class_names != parts[0].class_names:
            raise DatasetError(
                f"{origins[0]} has the classes {list(parts[0].class_names)}, but {origin} has "
                f"{list(part.class_names)}; give both the same class_names"
            )
    return parts[0].class_names
