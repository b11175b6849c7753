"""The data set that readers of box labels return: labels in memory, images decoded when loaded."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.image_file import ImageReader, read_bytes
from training.data.label_shapes import outline_mask, placed_keypoints
from training.data.labels import LabelRows
from training.data.mosaic import have_area
from training.data.orientation import upright_boxes
from training.data.remarks import NO_LABELS_KEPT, NO_OBJECTS, OTHER_SIZE, Remarks
from training.data.sample import Sample
from training.data.shapes import clip_boxes
from training.data.skeleton import Skeleton
from training.data_config import Labels
from training.errors import DatasetError

log = logging.getLogger(__name__)


class LabelledFiles:
    """One split of a data set on disk: image files, and the boxes of their objects."""

    skeleton: Skeleton | None  # None unless `labels` is keypoints

    def __init__(
        self,
        class_names: tuple[str, ...],
        images: Sequence[Path],
        rows: LabelRows,
        *,
        fractions: bool = False,
        stated_hw: Sequence[tuple[float, float] | None] = (),
        labels: Labels = "boxes",
        skeleton: Skeleton | None = None,
    ) -> None:
        """Group the labels by image, and count the images without labels.

        Args:
            rows: the labels of all images; a row's image number is a position in `images`.
            fractions: whether boxes are fractions of the image size instead of pixels.
            labels: what the samples hold beside boxes; the rows must have these shapes.
            skeleton: the keypoints of each object, if `labels` is keypoints.
            stated_hw: each image's (height, width) as the labels state it; empty if the format has no sizes.
        """
        self.class_names = class_names
        self.skeleton = skeleton
        self._kind, self._shapes = labels, rows.shapes
        self._images = images
        self._labels = rows.by_image(len(images))
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

    def load(self, index: int) -> Sample:
        """Return an upright image with its boxes clipped to it; raise DatasetError if that fails."""
        path, labels = self._images[index], self._labels[index]
        image, orientation, _ = self.reader.read(path)
        height, width = image.shape[:2]
        boxes = labels["box_xyxy"]
        if self._fractions:
            boxes = boxes * [width, height, width, height]
        elif self._stated_hw:
            stated_hw = self._stated_hw[index]
            if stated_hw is not None and stated_hw not in ((height, width), (width, height)):
                self._of_other_size.add(index)
                self._counted[OTHER_SIZE] = len(self._of_other_size)
            boxes = upright_boxes(boxes, stated_hw, (height, width), orientation)
        clipped = clip_boxes(boxes.astype(np.float32), (0, 0, width, height))
        inside = have_area(clipped)
        if not inside.all():
            log.warning(f"{path}: boxes wholly outside the image, left out: {(~inside).sum()}")
        objects, regions = inside & ~labels["ignored"], inside & labels["ignored"]
        shapes = self._decoded(labels[objects], clipped[objects], index, (height, width), orientation)
        return Sample(
            image,
            clipped[objects],
            labels["class_id"][objects],
            path.stem,
            ignored_xyxy=clipped[regions],
            ignored_class_ids=labels["class_id"][regions],
            areas=labels["area"][objects],
            **shapes,
        )

    def _decoded(
        self,
        rows: NDArray[np.void],
        boxes: NDArray[np.float32],
        index: int,
        image_hw: tuple[int, int],
        orientation: int,
    ) -> dict[str, Any]:
        """Return the masks or keypoints of the objects of an image, by the name of their field in Sample."""
        stated_hw = self._stated_hw[index] if self._stated_hw else None
        found = [self._shapes.shape(number) for number in rows["shape"].tolist()]
        where = (stated_hw, image_hw, orientation)
        match self._kind:
            case "masks":
                try:
                    pairs = zip(found, boxes.astype(np.float64), strict=True)
                    return {"masks": tuple(outline_mask(each, box, *where) for each, box in pairs)}
                except ValueError as error:
                    raise DatasetError(f"{self._images[index]}: {error}") from error
            case "keypoints":
                assert self.skeleton is not None
                count = len(self.skeleton.names)
                placed = [placed_keypoints(each, count, *where) for each in found]
                return {"keypoints": np.stack(placed) if placed else np.zeros((0, count, 3), np.float32)}
        return {}

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
