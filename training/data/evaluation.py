"""Batches for evaluation: images with their labels, resized to the model input but not augmented."""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.config import Resize
from training.data.images.center_crop import center_crop_image
from training.data.images.letterbox import letterbox_image
from training.data.images.reduced_jpeg import Fit, Reduced
from training.data.masks import Mask
from training.data.sample import Dataset, Sample, no_boxes


@dataclass(frozen=True)
class Truth:
    """The labels of an image, in pixels of the loaded image; Sample documents the fields."""

    boxes_xyxy: NDArray[np.float32]  # (N, 4)
    class_ids: NDArray[np.int64]  # (N,)
    image_hw: tuple[int, int]
    name: str
    ignored_xyxy: NDArray[np.float32] = field(default_factory=no_boxes)  # (R, 4)
    ignored_class_ids: NDArray[np.int64] | None = None  # (R,) -1: every class; None: all are -1
    ignored_masks: tuple[Mask, ...] | None = None  # R; None: the whole boxes of the regions are ignored
    areas: NDArray[np.float64] | None = None  # (N,) as labelled; NaN: not labelled
    image_class: int | None = None
    masks: tuple[Mask, ...] | None = None  # N
    keypoints: NDArray[np.float32] | None = None  # (N, P, 3)
    corners: NDArray[np.float32] | None = None  # (N, 4, 2)

    @classmethod
    def of(cls, sample: Sample) -> Self:
        """Return the labels of a sample, without its image."""
        labels = {each.name: getattr(sample, each.name) for each in fields(cls) if each.name != "image_hw"}
        return cls(**labels, image_hw=sample.source_hw)

    @property
    def object_areas(self) -> NDArray[np.float64]:
        """Return the area of each object, (N,) pixels².

        If the label states an area, this area is returned. Otherwise, the area is computed from the mask or
        the oriented box, or from the box if there is neither.
        """
        if self.masks is not None:
            own = np.array([mask.bitmap.sum() for mask in self.masks], dtype=np.float64)
        elif self.corners is not None:
            one, other = np.moveaxis(self.corners[:, 2:] - self.corners[:, :2], 1, 0).astype(np.float64)
            own = np.abs(one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]) / 2  # area by the two diagonals
        else:
            boxes = self.boxes_xyxy.astype(np.float64)
            own = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        return own if self.areas is None else np.where(np.isnan(self.areas), own, self.areas)


@dataclass(frozen=True, eq=False)
class EvaluationBatch:
    """A batch of images in the order of the data set, with their labels and their indices in the data set."""

    indices: list[int]
    images: Tensor  # (B, H, W, 3) uint8 RGB
    truths: list[Truth]


def on_canvas(
    image: NDArray[np.uint8], input_hw: tuple[int, int], resize: Resize, reduced: Reduced | None = None
) -> NDArray[np.uint8]:
    """Return a model input (H, W, 3): an image (h, w, 3) resized by letterbox or centre crop.

    If `image` holds the reduced pixels of a larger image, `reduced` says where they lie in it.
    """
    match resize:
        case "letterbox":
            return letterbox_image(image, input_hw, reduced)[0]
        case "center_crop":
            return center_crop_image(image, input_hw, reduced)


def evaluation_batches(
    dataset: Dataset, input_hw: tuple[int, int], batch_size: int, resize: Resize = "letterbox"
) -> Iterator[EvaluationBatch]:
    """Yield the images of a data set in order, as batches; raise DatasetError if loading an image fails."""
    for start in range(0, len(dataset), batch_size):
        indices = list(range(start, min(start + batch_size, len(dataset))))
        samples = [dataset.load(index, Fit(input_hw, resize)) for index in indices]
        images = [on_canvas(sample.image, input_hw, resize, sample.reduced) for sample in samples]
        yield EvaluationBatch(
            indices=indices,
            images=torch.from_numpy(np.stack(images)),
            truths=[Truth.of(sample) for sample in samples],
        )
