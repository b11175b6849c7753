"""Reads YOLO labels: one txt file per image, class names in data.yaml."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from training.data.image_file import images_by_stem, read_bytes, read_rgb
from training.data.sample import Sample
from training.errors import DatasetError

ALIASES: Mapping[str, tuple[str, ...]] = {"val": ("valid", "validation"), "valid": ("val", "validation")}
TOLERANCE = 1e-3  # exporters round; a value this little outside 0..1 is clipped, not refused


class YoloTxtDataset:
    """One split of a YOLO folder. Labels are read and checked when it is made, images when loaded.

    Images lie where data.yaml says, else in `<split>/images` or `images/<split>`; labels in the `labels`
    folder that mirrors it. `val` and `valid` mean the same. An image without a label file has no objects.
    A line is `class centre_x centre_y width height`, or `class x1 y1 x2 y2 x3 y3 ...` around a segment,
    which becomes the box that encloses it.

    Attributes:
        class_names: as data.yaml lists them.
        dropped_boxes: boxes left out because they have no area.
    """

    def __init__(self, root: Path, split: str) -> None:
        """Raises DatasetError: data.yaml, the split or a label is missing or malformed."""
        description = _read_description(root)
        self.class_names = _class_names(root / "data.yaml", description)
        images = _image_folder(root, split, description)
        self._images = list(images_by_stem(images).values())
        if not self._images:
            raise DatasetError(f"{images}: the split is empty; put images there")
        labels = _label_folder(images)
        self.dropped_boxes = 0
        self._labels = [self._solid(labels / f"{image.stem}.txt") for image in self._images]

    def __len__(self) -> int:
        return len(self._images)

    def load(self, index: int) -> Sample:
        """Raises DatasetError: the image cannot be decoded."""
        image = read_rgb(self._images[index])
        fractions, class_ids = self._labels[index]
        height, width = image.shape[:2]
        boxes = (fractions * [width, height, width, height]).astype(np.float32)
        return Sample(image, boxes, class_ids, self._images[index].stem)

    def encoded(self, index: int) -> bytes:
        """The image file as it is. Raises DatasetError: it cannot be read."""
        return read_bytes(self._images[index])

    def _solid(self, path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        fractions, class_ids = _read_labels(path, len(self.class_names))
        solid = (fractions[:, 2:] > fractions[:, :2]).all(axis=1)
        self.dropped_boxes += int((~solid).sum())
        return fractions[solid], class_ids[solid]


def _read_description(root: Path) -> dict[str, Any]:
    path = root / "data.yaml"
    try:
        description = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); it must name the classes") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: not YAML: {error}") from error
    if not isinstance(description, dict):
        raise DatasetError(f"{path}: must hold keys and values, such as names: [cat, dog]")
    return description


def _class_names(path: Path, description: Mapping[str, Any]) -> tuple[str, ...]:
    names = description.get("names")
    if isinstance(names, dict):
        if sorted(names) != list(range(len(names))):
            raise DatasetError(f"{path}: names must be numbered 0..{len(names) - 1} without gaps")
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not names:
        raise DatasetError(f"{path}: names must list the classes, such as names: [cat, dog]")
    return tuple(str(name) for name in names)


def _image_folder(root: Path, split: str, description: Mapping[str, Any]) -> Path:
    names = (split, *ALIASES.get(split, ()))
    base = root / str(description.get("path") or "")
    declared = [base / value for name in names if isinstance(value := description.get(name), str)]
    usual = [folder for name in names for folder in (root / name / "images", root / "images" / name)]
    for folder in (*declared, *usual):
        if folder.is_dir():
            return folder
    found = sorted(str(path.relative_to(root)) for path in root.glob("*/images"))
    looked = [str(folder) for folder in (*declared, *usual)]
    raise DatasetError(f"{root}: no images for split {split!r}; looked in {looked}; there are {found}")


def _label_folder(images: Path) -> Path:
    """The same path with its last `images` replaced by `labels`."""
    parts = list(images.parts)
    if "images" not in parts:
        return images  # labels beside the images
    last = len(parts) - 1 - parts[::-1].index("images")
    return Path(*parts[:last], "labels", *parts[last + 1 :])


def _read_labels(path: Path, num_classes: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Boxes (N, 4) xyxy as fractions of the image, and class ids (N,); none without a file."""
    boxes, class_ids = [], []
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read ({error})") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            class_id, box = _parse_line(line, num_classes)
        except ValueError as error:
            raise DatasetError(f"{path}:{number}: {error}") from error
        boxes.append(box)
        class_ids.append(class_id)
    return np.array(boxes, dtype=np.float64).reshape(-1, 4), np.array(class_ids, dtype=np.int64)


def _parse_line(line: str, num_classes: int) -> tuple[int, NDArray[np.float64]]:
    """Raises ValueError: says what is wrong with the line."""
    first, *rest = line.split()
    class_id = int(first)
    if not 0 <= class_id < num_classes:
        raise ValueError(f"class {class_id} is outside 0..{num_classes - 1}, the names in data.yaml")
    values = np.array([float(value) for value in rest])
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        raise ValueError(f"{1 + len(values)} columns; a box has 5, a segment 7 or more, an odd number")
    if not ((values >= -TOLERANCE) & (values <= 1 + TOLERANCE)).all():  # false for NaN too
        raise ValueError(f"coordinates must be fractions of the image, 0..1: {line.strip()!r}")
    if len(values) == 4:
        box = np.concatenate([values[:2] - values[2:] / 2, values[:2] + values[2:] / 2])
    else:
        points = values.reshape(-1, 2)
        box = np.concatenate([points.min(axis=0), points.max(axis=0)])
    return class_id, np.clip(box, 0, 1)
