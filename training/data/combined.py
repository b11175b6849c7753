"""Data sets made from other data sets: a selection of folds, or several data sets joined into one."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.images.reduced_jpeg import Fit
from training.data.labels.remarks import Remarks
from training.data.sample import Dataset, Sample
from training.data.view import DatasetView
from training.errors import DatasetError
from training.skeleton import Skeleton


class FoldedDataset(DatasetView):
    """A view of some folds of a data set; image i belongs to fold i modulo `folds`."""

    def __init__(self, dataset: Dataset, folds: int, kept: Sequence[int]) -> None:
        """Select the images of the folds in `kept`; raise DatasetError if these folds have no images."""
        indices = [index for index in range(len(dataset)) if index % folds in kept]
        if not indices:
            raise DatasetError(f"{len(dataset)} images leave none in fold {list(kept)} of {folds}")
        super().__init__(dataset, indices)


class CombinedDataset:
    """Several data sets joined into one: the images of the parts follow one another.

    The classes of the parts also follow one another. But if all parts have the same classes, the combined
    data set has just these.
    """

    def __init__(
        self, parts: Sequence[Dataset], origins: Sequence[str], *, shared_classes: bool = False
    ) -> None:
        """Join the parts.

        Args:
            origins: a name for each part.
            shared_classes: whether all parts have the same classes, in the same order.

        Raises:
            DatasetError: shared_classes is true and the parts differ in their classes, shared_classes is
                false and two parts have a class in common, or the parts differ in their keypoints.
        """
        if shared_classes:
            self.class_names = _shared(parts, origins)
            self._first_classes = [0] * len(parts)
        else:
            self.class_names = _each_once(parts, origins)
            self._first_classes = [0, *accumulate(len(part.class_names) for part in parts)]
        self.skeleton = _same_skeleton(parts, origins)
        self.origins = tuple(origins)
        self.remarks: Remarks = sum((Counter(part.remarks) for part in parts), Counter())
        self._parts = tuple(parts)
        self._ends = list(accumulate(len(part) for part in parts))

    def __len__(self) -> int:
        return self._ends[-1]

    def load(self, index: int, fit: Fit | None = None) -> Sample:
        """Return a sample whose class ids are those of the combined data set.

        The sample's name begins with the name of its part in `origins`.
        """
        part, within = self._place(index)
        sample = self._parts[part].load(within, fit)
        first = self._first_classes[part]
        regions = sample.ignored_class_ids
        return replace(
            sample,
            class_ids=sample.class_ids + first,
            ignored_class_ids=None if regions is None else np.where(regions >= 0, regions + first, regions),
            image_class=None if sample.image_class is None else sample.image_class + first,
            name=f"{self.origins[part]}/{sample.name}",
        )

    def name(self, index: int) -> str:
        """Return the path of an image's file, or the name of a generated image, for messages."""
        part, within = self._place(index)
        return self._parts[part].name(within)

    def encoded(self, index: int) -> bytes:
        """Return the bytes of an image file."""
        part, within = self._place(index)
        return self._parts[part].encoded(within)

    def path(self, index: int) -> Path | None:
        """Return the path of an image's file; None if the image is generated."""
        part, within = self._place(index)
        return self._parts[part].path(within)

    def class_ids(self, index: int) -> NDArray[np.int64]:
        """Return an image's class ids, as positions in the combined data set's class_names."""
        part, within = self._place(index)
        return self._parts[part].class_ids(within) + self._first_classes[part]

    def origin_of(self, index: int) -> int:
        """Return the position, in `origins`, of the part that contains an image."""
        return self._place(index)[0]

    def _place(self, index: int) -> tuple[int, int]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        part = bisect_right(self._ends, index)
        return part, index - (self._ends[part - 1] if part else 0)


def _same_skeleton(parts: Sequence[Dataset], origins: Sequence[str]) -> Skeleton | None:
    for part, origin in zip(parts, origins, strict=True):
        if part.skeleton != parts[0].skeleton:
            raise DatasetError(
                f"the keypoints of {origins[0]} and {origin} differ; give both the same keypoints, or none"
            )
    return parts[0].skeleton


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
