"""Reads YOLO labels: one txt file per image."""

from collections import Counter
from collections.abc import Iterator, Mapping
from math import isfinite
from pathlib import Path
from typing import NamedTuple

from training.data.labels.label_file import Box
from training.data.labels.labelled_files import LabelledFiles
from training.data.labels.object_shapes import packed_numbers, packed_polygons
from training.data.labels.remarks import (
    CLIPPED,
    EXTRA_COLUMN,
    NO_IMAGE,
    NO_LABELS_KEPT,
    OUTLINES,
    OUTSIDE,
    REPEATED,
)
from training.data.labels.rows import LabelRows
from training.data.readers.yolo_description import Description, describe
from training.data.readers.yolo_images import LabelFiles, split_images
from training.data.readers.yolo_keypoints import packed_keypoints, skeleton_of
from training.data_config import LabelKind
from training.errors import DatasetError

TOLERANCE = 1e-3  # a box that reaches over the edge by at most this share of the image is not counted
FARTHEST = 2.0  # a coordinate below -1, or from 2 on, is no fraction of the image, but perhaps a pixel
UNUSABLE = 0.5  # a data set is refused if more than this share of its rows cannot be used


class _Row(NamedTuple):
    class_id: int
    box: Box  # fractions of the image; can reach over its edge
    extra_column: bool
    outline: bool
    shape: bytes = b""  # the outline, keypoints or corners, if asked for; see object_shapes.py


def read_yolo(root: Path, split: str, *, labels: LabelKind = "boxes") -> LabelledFiles:
    """Return one split of a YOLO data set.

    The functions describe and split_images and the class LabelFiles document which files are read. An image
    without a label file has no objects.

    A row with a box is `class centre_x centre_y width height`. A sixth column, such as a confidence or a
    track id, is not read. A row with an outline is `class x1 y1 x2 y2 x3 y3 ...`; the box encloses the
    outline. If `labels` is "masks", the outline is kept as well. If `labels` is "corners", every outline must
    have four points, which are the corners of an oriented box. The labels of oriented boxes can also be in
    folders called labels_obb. If data.yaml has a kpt_shape, keypoints follow the box in a row; they are kept
    only if `labels` is "keypoints". Malformed rows are left out; the remarks count them and name the first.

    Raises:
        DatasetError: the description is malformed, no image has a label file, more than half of the rows
            are malformed, or `labels` is "keypoints" and data.yaml has no kpt_shape.
        NoSuchSplit: the split does not exist or has no images.
    """
    described = describe(root)
    skeleton = skeleton_of(described) if labels == "keypoints" else None
    rows = LabelRows(labels)
    images = split_images(described, split, rows.remarks)
    files = LabelFiles(described.home, ("labels_obb", "labels") if labels == "corners" else ("labels",))
    paths = [files.of(image) for image in images]
    if not any(paths):
        looked = ", ".join(map(str, files.folders(images[0].parent)))
        raise DatasetError(
            f"{images[0].parent}: {len(images)} images and not one label file; looked in {looked} for "
            f"{images[0].stem}.txt and others; put them there (only an image without objects needs no file)"
        )
    rows.remarks[NO_LABELS_KEPT] += paths.count(None)
    reader = _RowReader(described, labels)
    rows.remarks[NO_IMAGE] += sum(map(reader.is_label_file, files.without_image))
    for image, path in enumerate(paths):
        known: set[tuple[int, Box, bytes]] = set()
        for row in reader.rows(path) if path else ():
            if (row.class_id, row.box, row.shape) in known:
                rows.remarks[REPEATED] += 1
                continue
            known.add((row.class_id, row.box, row.shape))
            rows.remarks[EXTRA_COLUMN] += row.extra_column
            rows.remarks[OUTLINES] += row.outline and not row.shape
            _add(rows, image, row)
    rows.remarks.update(reader.remarks())
    return LabelledFiles(tuple(described.names.values()), images, rows, fractions=True, skeleton=skeleton)


def _add(rows: LabelRows, image: int, row: _Row) -> None:
    x1, y1, x2, y2 = row.box
    if x1 >= 1 or y1 >= 1 or x2 <= 0 or y2 <= 0:
        rows.remarks[OUTSIDE] += 1
        return
    rows.remarks[CLIPPED] += max(-x1, -y1, x2 - 1, y2 - 1) > TOLERANCE
    rows.add(image, (max(x1, 0), max(y1, 0), min(x2, 1), min(y2, 1)), row.class_id, shape=row.shape)


class _RowReader:
    """Reads the rows of label files, and counts those that are malformed."""

    def __init__(self, described: Description, labels: LabelKind = "boxes") -> None:
        self._labels = labels
        self._class_ids = {class_id: place for place, class_id in enumerate(described.names)}
        self._keypoints = described.keypoints
        self._file = described.file.name
        self._read = 0
        self._malformed: Counter[str] = Counter()  # by reason
        self._first: dict[str, str] = {}  # file and line of the first row, by reason

    def rows(self, path: Path) -> Iterator[_Row]:
        """Yield the well-formed rows of a file; raise DatasetError if the file cannot be read."""
        for number, line in enumerate(_lines(path), start=1):
            if not line.strip():
                continue
            self._read += 1
            try:
                yield self._parse(line)
            except ValueError as error:
                self._malformed[str(error)] += 1
                self._first.setdefault(str(error), f"{path}:{number}")

    def remarks(self) -> Mapping[str, int]:
        """Return the counts of malformed rows; raise DatasetError if they outnumber the well-formed rows."""
        malformed = self._malformed.total()
        if malformed > UNUSABLE * self._read:
            reason, _ = self._malformed.most_common(1)[0]
            raise DatasetError(
                f"{self._first[reason]}: {reason}; of {self._read} rows, {malformed} cannot be used"
            )
        return {
            f"rows left out: {reason}, first in {self._first[reason]}": count
            for reason, count in self._malformed.items()
        }

    def is_label_file(self, path: Path) -> bool:
        """Return whether the first row of a text file has the form of a YOLO label."""
        try:
            self._parse(next(iter(_lines(path)), ""))
        except ValueError:
            return False
        return True

    def _parse(self, line: str) -> _Row:
        """Return the values of a row; raise ValueError if it is malformed."""
        columns = line.split()
        try:
            number, *values = map(float, columns)
        except ValueError:
            if "\0" in line:
                raise ValueError("not UTF-8 text; save the labels as UTF-8") from None
            raise ValueError("not all columns are numbers with spaces between them") from None
        if number not in self._class_ids:
            what = "has no name in" if number.is_integer() else "is no whole number, as a class must be; see"
            raise ValueError(f"class {columns[0]} {what} {self._file}")
        shape = b""
        if len(columns) > 6 and self._keypoints is not None:
            shape = self._keypoints_in(values)
            values = values[:4]
        elif len(columns) < 5 or (len(columns) > 6 and not len(columns) % 2):
            raise ValueError(
                f"{len(columns)} columns; a box has 5, an outline 7 or more, an odd number; keypoints need a "
                "kpt_shape in data.yaml"
            )
        box_values = values if len(values) > 5 else values[:4]
        if not all(isfinite(value) and -1 <= value < FARTHEST for value in box_values):
            hint = "; keypoints need a kpt_shape in data.yaml" if len(box_values) > 4 else ""
            raise ValueError(f"coordinates must be fractions of the image, 0..1{hint}")
        outline = len(box_values) > 4
        shape = _packed(box_values, self._labels) if outline else shape
        return _Row(self._class_ids[int(number)], _box(box_values), len(columns) == 6, outline, shape)

    def _keypoints_in(self, values: list[float]) -> bytes:
        """Return the packed keypoints of a row; empty if `labels` does not ask for keypoints."""
        assert self._keypoints is not None
        count, columns = self._keypoints
        if len(values) != 4 + count * columns:
            raise ValueError(f"{1 + len(values)} columns, but kpt_shape makes it {5 + count * columns}")
        return packed_keypoints(values[4:], columns) if self._labels == "keypoints" else b""


def _packed(outline: list[float], labels: LabelKind) -> bytes:
    """Return an outline packed as a mask or an oriented box; empty if `labels` asks for neither."""
    if labels == "masks":
        return packed_polygons([outline])
    if labels != "corners":
        return b""
    if len(outline) != 8:
        raise ValueError(f"{1 + len(outline)} columns; an oriented box has 9: class, x and y of 4 corners")
    return packed_numbers(outline)


def _box(values: list[float]) -> Box:
    if len(values) > 4:
        x, y = values[::2], values[1::2]
        return min(x), min(y), max(x), max(y)
    x_centre, y_centre, width, height = values
    if width < 0 or height < 0:
        raise ValueError("a width or height is negative")
    half_width, half_height = width / 2, height / 2
    return x_centre - half_width, y_centre - half_height, x_centre + half_width, y_centre + half_height


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); fetch it again") from error
