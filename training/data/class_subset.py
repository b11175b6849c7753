"""Some of the classes of a data set."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from training.data.labels import ANY_CLASS
from training.data.remarks import ALIKE
from training.data.sample import Dataset, Sample
from training.data.view import DatasetView
from training.errors import DatasetError


class ChosenClasses(DatasetView):
    """A data set with the objects of some classes; images without any stay, as background."""

    def __init__(
        self, dataset: Dataset, class_names: Sequence[str], like: Mapping[str, str] | None = None
    ) -> None:
        """Choose, and count what becomes a region.

        Args:
            dataset: of more classes.
            class_names: those that stay, in the order of their new ids.
            like: by class, the one that it is like: where it is left out itself, its objects are regions that
                are ignored for that one, so that finding them is no error.

        Raises:
            DatasetError: the data set has no such class; or an image, to be counted, cannot be loaded.
        """
        unknown = [name for name in class_names if name not in dataset.class_names]
        if unknown:
            raise DatasetError(f"no class {', '.join(unknown)} among {', '.join(dataset.class_names)}")
        super().__init__(dataset)
        self.class_names = tuple(class_names)
        new_ids = {name: new_id for new_id, name in enumerate(class_names)}
        self._new_ids = np.array([new_ids.get(name, -1) for name in dataset.class_names])  # -1: left out
        # Of each class that is left out, the chosen one that it is like; -1: none.
        like = {name: other for name, other in (like or {}).items() if name not in new_ids}
        alike = [new_ids.get(like.get(name, ""), -1) for name in dataset.class_names]
        self._alike = np.array(alike)
        if max(alike) >= 0:
            ids = (dataset.class_ids(index) for index in range(len(dataset)))
            count = sum(int((self._alike[each] >= 0).sum()) for each in ids)
            self.remarks = {**dataset.remarks, ALIKE: count}

    def load(self, index: int) -> Sample:
        """Return it with class ids of the chosen classes; regions ignored for another one are left out.

        The objects that are like those of a chosen class come after the other regions.
        """
        sample = super().load(index)
        class_ids = self._new_ids[sample.class_ids]
        kept = class_ids >= 0
        chosen = replace(
            sample,
            boxes_xyxy=sample.boxes_xyxy[kept],
            class_ids=class_ids[kept],
            areas=None if sample.areas is None else sample.areas[kept],
        )
        alike = self._alike[sample.class_ids]
        regions = sample.ignored_class_ids
        if regions is None:
            regions = np.full(len(sample.ignored_xyxy), ANY_CLASS)
        new_regions = np.where(regions == ANY_CLASS, ANY_CLASS, self._new_ids[regions])
        meant = (regions == ANY_CLASS) | (new_regions >= 0)
        return replace(
            chosen,
            ignored_xyxy=np.concatenate([sample.ignored_xyxy[meant], sample.boxes_xyxy[alike >= 0]]),
            ignored_class_ids=np.concatenate([new_regions[meant], alike[alike >= 0]]),
        )

    def class_ids(self, index: int) -> NDArray[np.int64]:
        """Return those of the chosen classes' objects."""
        class_ids = self._new_ids[super().class_ids(index)]
        return np.asarray(class_ids[class_ids >= 0])
