"""Joins samples into batches, in which the labels of all images follow one another."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.config import MASK_STRIDE
from training.data.loading.batch import BoxBatch, OrientedBatch, PoseBatch, SegmentBatch
from training.data.masks import Mask
from training.data.sample import Sample


def collate_boxes(samples: Sequence[Sample]) -> BoxBatch:
    """Return a batch of images of the same size, with all their objects and ignored regions."""
    return BoxBatch(**_boxes(samples))


def collate_masks(samples: Sequence[Sample]) -> SegmentBatch:
    """Return a batch whose objects also have masks, at a quarter of the images' height and width.

    A cell of a mask is set if at least half of its pixels are set.

    Raises:
        ValueError: a sample has no masks, or a side of the images is not a multiple of MASK_STRIDE.
    """
    height, width = samples[0].image.shape[:2]
    if height % MASK_STRIDE or width % MASK_STRIDE:
        raise ValueError(f"images are {width}x{height}, want multiples of {MASK_STRIDE}")
    masks = []
    for sample in samples:
        if sample.masks is None:
            raise ValueError(f"{sample.name}: no masks")
        masks += [mask_cells(mask, (height, width)) for mask in sample.masks]
    shape = (len(masks), height // MASK_STRIDE, width // MASK_STRIDE)
    stacked = np.stack(masks) if masks else np.zeros(shape, dtype=np.bool_)
    return SegmentBatch(**_boxes(samples), masks=torch.from_numpy(stacked))


def collate_keypoints(samples: Sequence[Sample]) -> PoseBatch:
    """Return a batch whose objects also have keypoints; raise ValueError if a sample has no keypoints."""
    return PoseBatch(**_boxes(samples), keypoints=_joined(samples, "keypoints"))


def collate_corners(samples: Sequence[Sample]) -> OrientedBatch:
    """Return a batch whose objects also have oriented boxes; raise ValueError if a sample has none."""
    return OrientedBatch(**_boxes(samples), corners=_joined(samples, "corners"))


def mask_cells(mask: Mask, image_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Return a mask as cells of MASK_STRIDE x MASK_STRIDE pixels, (H / MASK_STRIDE, W / MASK_STRIDE).

    A cell is set if at least half of its pixels are set. Pixels beyond the image are cut off.
    """
    cells = np.zeros((image_hw[0] // MASK_STRIDE, image_hw[1] // MASK_STRIDE), dtype=np.bool_)
    height, width = mask.bitmap.shape
    # Only the cells that the mask's window touches can be on; a whole image for each object would be slow.
    x1, y1 = max(0, mask.left // MASK_STRIDE), max(0, mask.top // MASK_STRIDE)
    x2 = min(cells.shape[1], -(-(mask.left + width) // MASK_STRIDE))
    y2 = min(cells.shape[0], -(-(mask.top + height) // MASK_STRIDE))
    if x2 > x1 and y2 > y1:
        inner = Mask(mask.left - MASK_STRIDE * x1, mask.top - MASK_STRIDE * y1, mask.bitmap)
        pixels = inner.on((MASK_STRIDE * (y2 - y1), MASK_STRIDE * (x2 - x1)))
        counts = pixels.reshape(y2 - y1, MASK_STRIDE, x2 - x1, MASK_STRIDE).sum(axis=(1, 3))
        cells[y1:y2, x1:x2] = counts * 2 >= MASK_STRIDE**2
    return cells


def _boxes(samples: Sequence[Sample]) -> dict[str, Tensor]:
    """Return the values of the fields of BoxBatch."""
    counts = [len(sample.class_ids) for sample in samples]
    regions = [len(sample.ignored_xyxy) for sample in samples]
    return {
        "images": torch.from_numpy(np.stack([sample.image for sample in samples])),
        "boxes_xyxy": torch.from_numpy(np.concatenate([sample.boxes_xyxy for sample in samples])),
        "class_ids": torch.from_numpy(np.concatenate([sample.class_ids for sample in samples])),
        "image_ids": torch.from_numpy(np.repeat(np.arange(len(samples)), counts)),
        "ignored_xyxy": torch.from_numpy(np.concatenate([sample.ignored_xyxy for sample in samples])),
        "ignored_image_ids": torch.from_numpy(np.repeat(np.arange(len(samples)), regions)),
    }


def _joined(samples: Sequence[Sample], name: str) -> Tensor:
    missing = [sample.name for sample in samples if getattr(sample, name) is None]
    if missing:
        raise ValueError(f"{missing[0]}: no {name}")
    return torch.from_numpy(np.concatenate([getattr(sample, name) for sample in samples]))
