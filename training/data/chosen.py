"""Some of the classes of a data set."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from training.data.balance import class_ids_of
from training.data.labels import ANY_CLASS
from training.data.sample import Dataset, Sample
from training.errors import DatasetError


class ChosenClasses:
    """A data set with the objects of some classes; pictures without any stay, as background."""

    def __init__(self, dataset: Dataset, class_names: Sequence[str]) -> None:
        """Raises DatasetError: the data set has no such class."""
        unknown = [name for name in class_names if name not in dataset.class_names]
        if unknown:
            raise DatasetError(f"no class {', '.join(unknown)} among {', '.join(dataset.class_names)}")
        self.class_names = tuple(class_names)
        self.remarks = dataset.remarks  # of all classes
        self._dataset = dataset
        self._new_ids = np.full(len(dataset.class_names), -1)  # of each class; -1: left out
        self._new_ids[[dataset.class_names.index(name) for name in class_names]] = range(len(class_names))

    def __len__(self) -> int:
        return len(self._dataset)

    def load(self, index: int) -> Sample:
        """With class ids of the chosen classes; regions that are ignored for another one are left out."""
        sample = self._dataset.load(index)
        class_ids = self._new_ids[sample.class_ids]
        kept = class_ids >= 0
        chosen = replace(
            sample,
            boxes_xyxy=sample.boxes_xyxy[kept],
            class_ids=class_ids[kept],
            areas=None if sample.areas is None else sample.areas[kept],
        )
        regions = sample.ignored_class_ids
        if regions is None:
            return chosen
        new_regions = np.where(regions == ANY_CLASS, ANY_CLASS, self._new_ids[regions])
        meant = (regions == ANY_CLASS) | (new_regions >= 0)
        return replace(chosen, ignored_xyxy=sample.ignored_xyxy[meant], ignored_class_ids=new_regions[meant])

    def encoded(self, index: int) -> bytes:
        """As the whole data set gives it."""
        return self._dataset.encoded(index)

    def class_ids(self, index: int) -> NDArray[np.int64]:
        """Of the chosen classes' objects."""
        class_ids = self._new_ids[class_ids_of(self._dataset, index)]
        return np.asarray(class_ids[class_ids >= 0])
