"""Reads YOLO labels: one txt file per image, class names in data.yaml."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from training.data.image_file import images_by_stem, split_names
from training.data.label_file import Box, files_by_stem, parsed_lines
from training.data.labelled_files import LabelledFiles
from training.data.labels import LabelRows
from training.data.remarks import NO_IMAGE, NO_LABELS_KEPT
from training.errors import DatasetError, NoSuchSplit

NOT_LABELS = frozenset({"classes"})  # labelling tools write classes.txt, a list of names, beside labels
TOLERANCE = 1e-3  # a value outside 0..1 by at most this much is rounding: clipped, not refused


def read_yolo(root: Path, split: str) -> LabelledFiles:
    """Return one split of a YOLO folder, with the classes that data.yaml lists.

    Images are in the folder that data.yaml names for the split, else in `<split>/images` or `images/<split>`.
    Labels are in the same folder with its last `images` replaced by `labels`. `val` and `valid` mean the
    same. An image without a label file has no objects. A line is `class centre_x centre_y width height`, or
    `class x1 y1 x2 y2 x3 y3 ...`: a polygon, which becomes the box that encloses it.

    Raises:
        DatasetError: data.yaml is missing or malformed, the split does not exist or has no images, or a label
            file is malformed.
    """
    description = _read_description(root)
    names = _class_names(root / "data.yaml", description)
    folder = _image_folder(root, split, description)
    images = images_by_stem(folder)
    if not images:
        raise DatasetError(f"{folder}: the split is empty; put images there")
    label_folder = _label_folder(folder)
    labels = files_by_stem(label_folder, ".txt") if label_folder.is_dir() else {}
    rows = LabelRows()
    rows.remarks[NO_IMAGE] += len(labels.keys() - images.keys() - NOT_LABELS)
    for image, stem in enumerate(images):
        if stem not in labels:
            rows.remarks[NO_LABELS_KEPT] += 1
            continue
        for class_id, box in parsed_lines(labels[stem], lambda line: _parse_line(line, len(names))):
            rows.add(image, box, class_id)
    return LabelledFiles(names, list(images.values()), rows, fractions=True)


def is_yolo(root: Path, split: str) -> bool:
    """Return whether a folder holds a data.yaml."""
    return (root / "data.yaml").exists()


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
        names = [name for _, name in sorted(names.items())]
    if not isinstance(names, list) or not names:
        raise DatasetError(f"{path}: names must list the classes, such as names: [cat, dog]")
    return tuple(str(name) for name in names)


def _image_folder(root: Path, split: str, description: Mapping[str, Any]) -> Path:
    names = split_names(split)
    base = root / str(description.get("path") or "")
    declared = [base / value for name in names if isinstance(value := description.get(name), str)]
    usual = [folder for name in names for folder in (root / name / "images", root / "images" / name)]
    for folder in (*declared, *usual):
        if folder.is_dir():
            return folder
    found = sorted(str(path.relative_to(root)) for path in root.glob("*/images"))
    looked = [str(folder) for folder in (*declared, *usual)]
    raise NoSuchSplit(f"{root}: no images for split {split!r}; looked in {looked}; there are {found}")


def _label_folder(images: Path) -> Path:
    """Return the same path with its last `images` replaced by `labels`."""
    parts = list(images.parts)
    if "images" not in parts:
        return images  # labels beside the images
    last = len(parts) - 1 - parts[::-1].index("images")
    return Path(*parts[:last], "labels", *parts[last + 1 :])


def _parse_line(line: str, num_classes: int) -> tuple[int, Box]:
    """Return the class id and box in a line; raise ValueError if the line is malformed."""
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
    x1, y1, x2, y2 = np.clip(box, 0, 1).tolist()
    return class_id, (x1, y1, x2, y2)
