"""The data set that readers of box labels return: it holds the labels, and decodes images when loaded."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.augmentation.mosaic import have_area
from training.data.augmentation.shapes import clip_boxes
from training.data.images.image_file import ImageReader, read_bytes
from training.data.images.reduced_jpeg import Fit
from training.data.labels.object_shapes import Upright, corners_of, keypoints_of, masks_of
from training.data.labels.orientation import turn_of, upright_boxes
from training.data.labels.remarks import NO_LABELS_KEPT, NO_OBJECTS, OTHER_SIZE, Remarks
from training.data.labels.rows import LabelRows
from training.data.sample import Sample
from training.skeleton import Skeleton

log = logging.getLogger(__name__)


class LabelledFiles:
    """One split of a data set on disk: image files, and the boxes of their objects."""

    skeleton: Skeleton | None = None

    def __init__(
        self,
        class_names: tuple[str, ...],
        images: Sequence[Path],
        rows: LabelRows,
        *,
        fractions: bool = False,
        stated_hw: Sequence[tuple[float, float] | None] = (),
        skeleton: Skeleton | None = None,
    ) -> None:
        """Group the labels by image, and count the images without labels.

        If `rows` keeps masks, keypoints or corners, the samples will have them.

        Args:
            rows: the labels of all images. The image number of a row is a position in `images`.
            fractions: whether boxes are fractions of the image size instead of pixels.
            stated_hw: the (height, width) that the labels state for each image; empty: they state no sizes.
            skeleton: what the keypoints of each object are; needed if `rows` keeps keypoints.
        """
        self.class_names = class_names
        self._images = images
        self.skeleton = skeleton
        self.labels = rows.labels
        self._labels = rows.by_image(len(images))
        self._shapes = None if rows.labels == "boxes" else rows.shapes()
        self._firsts = np.cumsum([0, *map(len, self._labels)])  # place of each image's first row
        without_rows = sum(len(labels) == 0 for labels in self._labels)
        rows.remarks[NO_OBJECTS] += without_rows - rows.remarks[NO_LABELS_KEPT]
        self.remarks: Remarks = rows.remarks
        self.reader = ImageReader(rows.remarks)
        self._fractions = fractions
        self._stated_hw = stated_hw
        self._counted = rows.remarks
        self._of_other_size: set[int] = set()

    def __len__(self) -> int:
        return len(self._images)

    def load(self, index: int, fit: Fit | None = None) -> Sample:
        """Return an upright image with its boxes clipped to it; raise DatasetError if that fails."""
        path, labels = self._images[index], self._labels[index]
        image = self.reader.read(path, fit)
        height, width = image.source_hw
        boxes = labels["box_xyxy"]
        if self._fractions:
            boxes = boxes * [width, height, width, height]
        elif self._stated_hw:
            stated_hw = self._stated_hw[index]
            if stated_hw is not None and stated_hw not in ((height, width), (width, height)):
                self._of_other_size.add(index)
                self._counted[OTHER_SIZE] = len(self._of_other_size)
            boxes = upright_boxes(boxes, stated_hw, (height, width), image.orientation)
        clipped = clip_boxes(boxes.astype(np.float32), (0, 0, width, height))
        inside = have_area(clipped)
        if not inside.all():
            log.warning(f"{path}: boxes wholly outside the image, left out: {(~inside).sum()}")
        objects, regions = inside & ~labels["ignored"], inside & labels["ignored"]
        masks, ignored_masks, keypoints, corners = None, None, None, None
        if self._shapes is not None:
            packed = self._shapes.of(self._firsts[index] + np.flatnonzero(objects))
            stated = self._stated_hw[index] if self._stated_hw else None
            turn = turn_of(stated, (height, width), image.orientation)
            upright = Upright((height, width), turn, self._fractions)
            if self.labels == "masks":
                masks = masks_of(packed, clipped[objects], upright)
                packed = self._shapes.of(self._firsts[index] + np.flatnonzero(regions))
                ignored_masks = masks_of(packed, clipped[regions], upright)
            elif self.labels == "corners":
                corners = corners_of(packed, clipped[objects], upright)
            elif self.skeleton is not None:
                keypoints = keypoints_of(packed, len(self.skeleton.names), upright)
        return Sample(
            image.pixels,
            clipped[objects],
            labels["class_id"][objects],
            path.stem,
            ignored_xyxy=clipped[regions],
            ignored_class_ids=labels["class_id"][regions],
            ignored_masks=ignored_masks,
            areas=labels["area"][objects],
            masks=masks,
            keypoints=keypoints,
            corners=corners,
            reduced=image.reduced,
        )

    def name(self, index: int) -> str:
        """Return the path of an image's file."""
        return str(self._images[index])

    def encoded(self, index: int) -> bytes:
        """Return the bytes of an image file; raise DatasetError if the file cannot be read."""
        return read_bytes(self._images[index])

    def path(self, index: int) -> Path:
        """Return the file of an image."""
        return self._images[index]

    def class_ids(self, index: int) -> NDArray[np.int64]:
        """Return the class ids of an image's labelled objects, (N,), without reading the image."""
        labels = self._labels[index]
        return np.asarray(labels["class_id"][~labels["ignored"]])
