"""Image files with labels that have been read: what the readers of all formats have in common."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.image_file import read_bytes, read_rgb
from training.data.labels import LabelTable
from training.data.mosaic import clip_boxes
from training.data.orientation import upright_boxes
from training.data.remarks import Remarks
from training.data.sample import Sample

log = logging.getLogger(__name__)


class LabelledFiles:
    """One split of a data set on disk. Labels are read and checked when it is made, images when loaded.

    Attributes:
        class_names: in the order of the class ids.
        remarks: what was left out, ignored or clipped, and how often.
    """

    class_names: tuple[str, ...]
    remarks: Remarks

    def __init__(
        self,
        class_names: tuple[str, ...],
        images: Sequence[Path],
        labels: LabelTable,
        remarks: Remarks,
        *,
        fractions: bool = False,
        stated_hw: Sequence[tuple[float, float] | None] = (),
    ) -> None:
        """Labels, and what is known of them.

        Args:
            fractions: the boxes are fractions of the picture instead of pixels.
            stated_hw: of each picture, as its labels have it; empty: they do not say.
        """
        self.class_names = class_names
        self.remarks = remarks
        self._images = images
        self._labels = labels
        self._fractions = fractions
        self._stated_hw = stated_hw

    def __len__(self) -> int:
        return len(self._images)

    def load(self, index: int) -> Sample:
        """The image upright, and boxes on it, clipped to it whatever size the labels state.

        Raises:
            DatasetError: the image cannot be decoded.
        """
        path, labels = self._images[index], self._labels
        image = read_rgb(path)
        height, width = image.shape[:2]
        rows = labels.rows(index)
        boxes = labels.boxes_xyxy[rows]
        if self._fractions:
            boxes = boxes * [width, height, width, height]
        elif self._stated_hw:
            boxes = upright_boxes(boxes, self._stated_hw[index], path, image)
        clipped = clip_boxes(boxes.astype(np.float32), (0, 0, width, height))
        inside = (clipped[:, 2:] > clipped[:, :2]).all(axis=1)
        if not inside.all():
            log.warning("boxes_outside_image", extra={"file": str(path), "boxes": int((~inside).sum())})
        objects, regions = inside & ~labels.ignored[rows], inside & labels.ignored[rows]
        return Sample(
            image,
            clipped[objects],
            labels.class_ids[rows][objects],
            path.stem,
            ignored_xyxy=clipped[regions],
            ignored_class_ids=labels.class_ids[rows][regions],
            areas=labels.areas[rows][objects],
        )

    def encoded(self, index: int) -> bytes:
        """The image file as it is. Raises DatasetError: it cannot be read."""
        return read_bytes(self._images[index])

    def class_ids(self, index: int) -> NDArray[np.int64]:
        """(N,) of the objects, as labelled; the image is not looked at."""
        rows = self._labels.rows(index)
        return self._labels.class_ids[rows][~self._labels.ignored[rows]]
