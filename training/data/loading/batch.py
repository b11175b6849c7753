"""Batches of images and labels, as a training step takes them."""

from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Batch:
    """A batch of augmented images, to which the subclass for each task adds labels."""

    images: Tensor  # (B, H, W, 3) uint8 RGB

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """Return the batch with its tensors on the given device."""
        return type(self)(*(tensor.to(device, non_blocking=non_blocking) for tensor in self.tensors()))

    def tensors(self) -> tuple[Tensor, ...]:
        """Return the batch's tensors in the order of its fields."""
        return tuple(getattr(self, part.name) for part in fields(self))


@dataclass(frozen=True, eq=False)
class BoxBatch(Batch):
    """A batch that trains a detector: images and all their objects; the batch has M objects."""

    boxes_xyxy: Tensor  # (M, 4) float32, pixels of the model input
    class_ids: Tensor  # (M,) int64
    image_ids: Tensor  # (M,) int64, 0..B-1, ascending: the image that holds the object
    ignored_xyxy: Tensor  # (R, 4) float32, pixels of the model input: regions that the loss ignores
    ignored_image_ids: Tensor  # (R,) int64: the image that holds the region


@dataclass(frozen=True, eq=False)
class SegmentBatch(BoxBatch):
    """A batch that trains a detector of masks."""

    masks: Tensor  # (M, H/4, W/4) bool


@dataclass(frozen=True, eq=False)
class PoseBatch(BoxBatch):
    """A batch that trains a detector of keypoints; each object has P keypoints."""

    keypoints: Tensor  # (M, P, 3) float32: x, y in pixels, and 0: not labelled, 1: hidden, 2: visible


@dataclass(frozen=True, eq=False)
class OrientedBatch(BoxBatch):
    """A batch that trains a detector of oriented boxes.

    `boxes_xyxy` holds the upright boxes around the oriented boxes, clipped to the image.
    """

    corners: Tensor  # (M, 4, 2) float32, pixels; may lie outside the image


@dataclass(frozen=True, eq=False)
class ClassBatch(Batch):
    """A batch that trains a classifier: images and the class of each image."""

    class_ids: Tensor  # (B,) int64
