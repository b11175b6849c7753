"""One image with its labels: what every reader yields and every augmentation maps."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Sample:
    """An image and its objects, in the image's own pixels."""

    image: NDArray[np.uint8]  # (H, W, 3) RGB
    boxes_xyxy: NDArray[np.float32]  # (N, 4)
    class_ids: NDArray[np.int64]  # (N,)
    name: str  # file stem or scene number; for messages and reports

    def __post_init__(self) -> None:
        n = len(self.class_ids)
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8:
            raise ValueError(f"{self.name}: {self.image.shape=} {self.image.dtype=}, want (H, W, 3) uint8")
        if self.boxes_xyxy.shape != (n, 4) or self.class_ids.shape != (n,):
            raise ValueError(f"{self.name}: {self.boxes_xyxy.shape=} {self.class_ids.shape=} do not fit")


class Dataset(Protocol):
    """Labelled images by index. Loading the same index twice gives the same sample."""

    class_names: tuple[str, ...]

    def __len__(self) -> int: ...

    def load(self, index: int) -> Sample:
        """Raises DatasetError: names the file that is missing or malformed, and the line."""
        ...

    def encoded(self, index: int) -> bytes:
        """The picture as an image file's bytes, as a client would send it."""
        ...
