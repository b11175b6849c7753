"""The type of an image with its labels, and the interface of all data sets."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from training.data.images.reduced_jpeg import Fit, Reduced
from training.data.labels.remarks import Remarks
from training.data.masks import Mask
from training.skeleton import Skeleton


def no_boxes() -> NDArray[np.float32]:
    """Return an empty array of boxes, (0, 4)."""
    return np.zeros((0, 4), dtype=np.float32)


@dataclass(frozen=True)
class Sample:
    """An image and its objects, with boxes in pixels of the whole image.

    Ignored regions contain objects that are not labelled one by one. In these regions, the loss ignores
    background predictions, and evaluation counts detections neither as right nor as wrong.
    `ignored_class_ids`, `ignored_masks` and `areas` are None in augmented samples, because only evaluation
    uses these fields.
    """

    image: NDArray[np.uint8]  # (H, W, 3) RGB
    boxes_xyxy: NDArray[np.float32]  # (N, 4)
    class_ids: NDArray[np.int64]  # (N,)
    name: str  # file stem or scene number, for messages and reports
    ignored_xyxy: NDArray[np.float32] = field(default_factory=no_boxes)  # (R, 4)
    ignored_class_ids: NDArray[np.int64] | None = None  # (R,) -1: every class; None: all are -1
    ignored_masks: tuple[Mask, ...] | None = None  # R; None: the whole boxes of the regions are ignored
    areas: NDArray[np.float64] | None = None  # (N,) of outlines, source pixels²; NaN: use the box's area
    image_class: int | None = None  # class of the whole image; None: its objects are labelled instead
    masks: tuple[Mask, ...] | None = None  # N; None: the data set has no masks
    # (N, P, 3) x, y in pixels, and 0: not labelled, 1: hidden, 2: visible; None: there are no keypoints
    keypoints: NDArray[np.float32] | None = None
    corners: NDArray[np.float32] | None = None  # (N, 4, 2) of oriented boxes, in order; None: there are none
    reduced: Reduced | None = None  # where the pixels lie in the image; None: they are all its pixels

    @property
    def source_hw(self) -> tuple[int, int]:
        """Return the height and width of the whole image; labels are in pixels of this size."""
        return self.reduced.source_hw if self.reduced else (self.image.shape[0], self.image.shape[1])

    @property
    def labelled_classes(self) -> NDArray[np.int64]:
        """Return the class ids of the image's objects, (N,), or the class id of the whole image, (1,)."""
        return self.class_ids if self.image_class is None else np.array([self.image_class], dtype=np.int64)

    def __post_init__(self) -> None:
        n = len(self.class_ids)
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8:
            raise ValueError(f"{self.name}: {self.image.shape=} {self.image.dtype=}, want (H, W, 3) uint8")
        if self.boxes_xyxy.shape != (n, 4) or self.class_ids.shape != (n,):
            raise ValueError(f"{self.name}: {self.boxes_xyxy.shape=} {self.class_ids.shape=} do not fit")
        if self.ignored_xyxy.ndim != 2 or self.ignored_xyxy.shape[1] != 4:
            raise ValueError(f"{self.name}: {self.ignored_xyxy.shape=}, want (R, 4)")
        regions = self.ignored_class_ids
        if regions is not None and len(regions) != len(self.ignored_xyxy):
            raise ValueError(f"{self.name}: {len(regions)} classes of {len(self.ignored_xyxy)} regions")
        if self.ignored_masks is not None and len(self.ignored_masks) != len(self.ignored_xyxy):
            raise ValueError(
                f"{self.name}: {len(self.ignored_masks)} masks of {len(self.ignored_xyxy)} regions"
            )
        for name in ("areas", "masks", "keypoints", "corners"):
            values = getattr(self, name)
            if values is not None and len(values) != n:
                raise ValueError(f"{self.name}: {len(values)} {name} of {n} objects")


class Dataset(Protocol):
    """Labelled images with an index; loading the same index twice returns the same sample."""

    class_names: tuple[str, ...]
    remarks: Remarks  # how many labels were left out, ignored or clipped
    skeleton: Skeleton | None  # what the keypoints of each object are; None: the data set has no keypoints

    def __len__(self) -> int: ...

    def load(self, index: int, fit: Fit | None = None) -> Sample:
        """Return an image with its labels; raise DatasetError, which names the file, if loading it fails.

        Args:
            fit: the model input into which the image will be fitted; a JPEG that is much larger is decoded
                with fewer pixels. None: all pixels are needed.
        """
        ...

    def name(self, index: int) -> str:
        """Return the path of an image's file, or the name of a generated image, for messages."""
        ...

    def encoded(self, index: int) -> bytes:
        """Return the encoded bytes of an image file, as a client would send it to the service."""
        ...

    def path(self, index: int) -> Path | None:
        """Return the file of an image; None if the image is generated."""
        ...

    def class_ids(self, index: int) -> NDArray[np.int64]:
        """Return the class ids of an image's labels, where possible without decoding the image."""
        ...
