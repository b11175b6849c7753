"""The base class of data sets that show all or some images of another data set."""

from collections.abc import Sequence
from pathlib import Path

from numpy import int64
from numpy.typing import NDArray

from training.data.images.reduced_jpeg import Fit
from training.data.labels.remarks import Remarks
from training.data.sample import Dataset, Sample
from training.skeleton import Skeleton


class DatasetView:
    """All or some images of a data set; the images are unchanged, unless a subclass overrides a method."""

    def __init__(self, dataset: Dataset, indices: Sequence[int] | None = None) -> None:
        """Show the images of `dataset` at `indices`, in this order; None: show all images."""
        self.class_names = dataset.class_names
        self.skeleton: Skeleton | None = dataset.skeleton
        self.remarks: Remarks = dataset.remarks  # they count all images of `dataset`
        self._dataset = dataset
        self._indices = range(len(dataset)) if indices is None else indices

    def __len__(self) -> int:
        return len(self._indices)

    def load(self, index: int, fit: Fit | None = None) -> Sample:
        """Return an image with its labels."""
        return self._dataset.load(self._indices[index], fit)

    def name(self, index: int) -> str:
        """Return the path of an image's file."""
        return self._dataset.name(self._indices[index])

    def encoded(self, index: int) -> bytes:
        """Return the bytes of an image file."""
        return self._dataset.encoded(self._indices[index])

    def path(self, index: int) -> Path | None:
        """Return the file of an image."""
        return self._dataset.path(self._indices[index])

    def class_ids(self, index: int) -> NDArray[int64]:
        """Return the class ids of an image's labels."""
        return self._dataset.class_ids(self._indices[index])
