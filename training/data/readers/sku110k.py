"""Reads SKU-110K labels: one csv file per split, without a header.

Source: the data set of Goldman et al. 2019, arXiv:1904.00853. A line is image_name, x1, y1, x2, y2, class,
image_width, image_height.
"""

from pathlib import Path

from training.data.images.image_file import images_by_name
from training.data.labels.label_file import Box, box_of_corners, finite_numbers, parsed_lines
from training.data.labels.labelled_files import LabelledFiles
from training.data.labels.remarks import NO_IMAGE
from training.data.labels.rows import LabelRows
from training.errors import DatasetError, NoSuchSplit

CLASS_NAME = "object"
COLUMNS = 8


def read_sku110k(root: Path, split: str) -> LabelledFiles:
    """Return the split whose labels are in `annotations/annotations_<split>.csv`.

    The images of all splits are in `images/`. They are returned in the order in which the csv file first
    names them.

    Raises:
        DatasetError: the csv file is missing, empty or malformed, the image folder is missing, or none of the
            named images exists.
    """
    path = root / "annotations" / f"annotations_{split}.csv"
    if not path.is_file():
        names = sorted(each.stem.removeprefix("annotations_") for each in path.parent.glob("*.csv"))
        raise NoSuchSplit(f"{path}: no such split; this data set has {names}")
    folder = root / "images"
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder; put the images there")
    there, rows = images_by_name(folder), LabelRows()
    sizes: dict[str, tuple[float, float]] = {}  # stated size of each image that exists, by its name
    missing: set[str] = set()
    places: dict[str, int] = {}  # position of each image that exists, by its name
    for name, box_xyxy, image_hw in parsed_lines(path, _parse):
        if name not in there and name.lower() not in there:
            missing.add(name)
            continue
        sizes.setdefault(name, image_hw)
        rows.add(places.setdefault(name, len(places)), box_xyxy, 0, image_hw=image_hw)
    if not places:
        raise DatasetError(f"{folder}: none of the {len(missing)} images that {path.name} names is there")
    images = [there.get(name) or there[name.lower()] for name in places]
    rows.remarks[NO_IMAGE] += len(missing)
    return LabelledFiles((CLASS_NAME,), images, rows, stated_hw=list(sizes.values()))


def _parse(line: str) -> tuple[str, Box, tuple[float, float]]:
    """Return the image name, box and image (height, width) in a line; raise ValueError if it is malformed."""
    columns = [column.strip() for column in line.split(",")]
    if len(columns) != COLUMNS:
        raise ValueError(f"{len(columns)} columns; SKU-110K has {COLUMNS}, without a header")
    name, *corners, kind, width, height = columns
    if kind != CLASS_NAME:
        raise ValueError(f"class {kind!r}; SKU-110K has one, {CLASS_NAME!r}, and its files have no header")
    stated_width, stated_height = finite_numbers([width, height])
    return name, box_of_corners(corners), (stated_height, stated_width)
