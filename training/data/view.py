"""The images of a data set, as another data set shows them."""

from collections.abc import Sequence

from numpy import int64
from numpy.typing import NDArray

from training.data.remarks import Remarks
from training.data.sample import Dataset, Sample


class DatasetView:
    """All or some images of a data set; a subclass says what it changes of them."""

    def __init__(self, dataset: Dataset, indices: Sequence[int] | None = None) -> None:
        """Show the images at these indices, in this order; None: all."""
        self.class_names = dataset.class_names
        self.remarks: Remarks = dataset.remarks  # of all images
        self._dataset = dataset
        self._indices = range(len(dataset)) if indices is None else indices

    def __len__(self) -> int:
        return len(self._indices)

    def load(self, index: int) -> Sample:
        """Return it as the whole data set does."""
        return self._dataset.load(self._indices[index])

    def encoded(self, index: int) -> bytes:
        """Return it as the whole data set does."""
        return self._dataset.encoded(self._indices[index])

    def class_ids(self, index: int) -> NDArray[int64]:
        """Return them as the whole data set does."""
        return self._dataset.class_ids(self._indices[index])
