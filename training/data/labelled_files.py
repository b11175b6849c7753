"""Image files with labels that have been read: what the readers of all formats have in common."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.image_file import read_bytes, read_rgb
from training.data.labels import LabelRows
from training.data.mosaic import clip_boxes, have_area
from training.data.orientation import upright_boxes
from training.data.remarks import NO_LABELS_KEPT, NO_OBJECTS, Remarks
from training.data.sample import Sample

log = logging.getLogger(__name__)


class LabelledFiles:
    """One split of a data set on disk. Labels are read and checked when it is made, images when loaded.

    Attributes:
        class_names: in the order of the class ids.
        remarks: what was left out, ignored or clipped, and how often.
    """

    def __init__(
        self,
        class_names: tuple[str, ...],
        images: Sequence[Path],
        rows: LabelRows,
        *,
        fractions: bool = False,
        stated_hw: Sequence[tuple[float, float] | None] = (),
    ) -> None:
        """Sort the labels by image, and count the images that have none.

        Args:
            fractions: the boxes are fractions of the image instead of pixels.
            stated_hw: of each image, as its labels have it; empty: they do not say.
        """
        self.class_names = class_names
        self._images = images
        self._labels = rows.by_image(len(images))
        without_rows = sum(len(labels) == 0 for labels in self._labels)
        rows.remarks[NO_OBJECTS] += without_rows - rows.remarks[NO_LABELS_KEPT]
        self.remarks: Remarks = rows.remarks
        self._fractions = fractions
        self._stated_hw = stated_hw

    def __len__(self) -> int:
        return len(self._images)

    def load(self, index: int) -> Sample:
        """Return the image upright, and boxes on it, clipped to it whatever size the labels state.

        Raises:
            DatasetError: the image cannot be decoded.
        """
        path, labels = self._images[index], self._labels[index]
        image = read_rgb(path)
        height, width = image.shape[:2]
        boxes = labels["box_xyxy"]
        if self._fractions:
            boxes = boxes * [width, height, width, height]
        elif self._stated_hw:
            boxes = upright_boxes(boxes, self._stated_hw[index], path, image)
        clipped = clip_boxes(boxes.astype(np.float32), (0, 0, width, height))
        inside = have_area(clipped)
        if not inside.all():
            log.warning(f"{path}: boxes wholly outside the image, left out: {(~inside).sum()}")
        objects, regions = inside & ~labels["ignored"], inside & labels["ignored"]
        return Sample(
            image,
            clipped[objects],
            labels["class_id"][objects],
            path.stem,
            ignored_xyxy=clipped[regions],
            ignored_class_ids=labels["class_id"][regions],
            areas=labels["area"][objects],
        )

    def encoded(self, index: int) -> bytes:
        """Return the image file as it is; raise DatasetError where it cannot be read."""
        return read_bytes(self._images[index])

    def class_ids(self, index: int) -> NDArray[np.int64]:
        """Return those of the objects (N,), as labelled; the image is not looked at."""
        labels = self._labels[index]
        return np.asarray(labels["class_id"][~labels["ignored"]])
