"""Reads VisDrone-DET labels: one txt file of eight columns per image.

Source: the format of the VisDrone object detection toolkit,
https://github.com/VisDrone/VisDrone2018-DET-toolkit. The columns are left, top, width, height, score,
category, truncation and occlusion. A score of 0 excludes the line from evaluation.
"""

import re
from pathlib import Path

from training.data.images.image_file import images_by_stem
from training.data.labels.label_file import Box, files_by_stem, finite_numbers, pair_up, parsed_lines
from training.data.labels.labelled_files import LabelledFiles
from training.data.labels.remarks import REGIONS
from training.data.labels.rows import ANY_CLASS, LabelRows
from training.errors import NoSuchSplit

CLASS_NAMES = (
    *("pedestrian", "people", "bicycle", "car", "van", "truck", "tricycle", "awning-tricycle", "bus"),
    "motor",
)
REGION, OTHERS = 0, 11  # special categories; the ten classes are 1 to 10
COLUMNS = 8
OFFICIAL_NAME = re.compile(r"VisDrone\d{4}-DET-(.+)")  # VisDrone2019-DET-test-dev
ONLY_SPLIT = "all"  # name of the split of a folder whose name does not tell the split


def read_visdrone(root: Path, split: str) -> LabelledFiles:
    """Return the images and labels of one split.

    The folders `images/` and `annotations/` are in `VisDrone2019-DET-<split>/`, in `<split>/` or in the root.

    Categories 0 (ignored regions) and 11 (others) become regions to ignore for every class. A line with
    score 0 becomes a region to ignore for its own class. Truncated and occluded boxes become ordinary
    objects.

    Raises:
        DatasetError: the split does not exist, a line is malformed, or no image has a label file.
    """
    folders = split_folders(root)
    if split not in folders:
        raise NoSuchSplit(f"{root}: no split {split!r}; this data set has {sorted(folders)}")
    folder, rows = folders[split], LabelRows()
    images = images_by_stem(folder / "images")
    labels = files_by_stem(folder / "annotations", ".txt")
    pairs = pair_up(str(folder), sorted({*images, *labels}), images, labels, rows.remarks)
    for image, (_, path) in enumerate(pairs):
        for box, class_id, ignored in parsed_lines(path, _parse):
            rows.add(image, box, class_id, ignored=REGIONS if ignored else None)
    return LabelledFiles(CLASS_NAMES, [image for image, _ in pairs], rows)


def split_folders(root: Path) -> dict[str, Path]:
    """Return the folders with `images/` and with txt files in `annotations/`; the keys are their splits."""
    found = {}
    for folder in (root, *sorted(root.iterdir())):
        if (folder / "images").is_dir() and any((folder / "annotations").glob("*.txt")):
            official = OFFICIAL_NAME.fullmatch(folder.resolve().name)
            name = ONLY_SPLIT if folder == root else folder.name
            found[official[1] if official else name] = folder
    return found


def _parse(line: str) -> tuple[Box, int, bool]:
    """Return a line's box, class id and whether to ignore it; raise ValueError if the line is malformed."""
    columns = [column.strip() for column in line.removesuffix("\n").split(",")]
    if len(columns) == COLUMNS + 1 and not columns[-1]:
        columns.pop()  # some files end their lines with a comma
    if len(columns) != COLUMNS:
        raise ValueError(f"{len(columns)} columns; VisDrone has {COLUMNS}, separated by commas")
    left, top, width, height = finite_numbers(columns[:4])
    if width < 0 or height < 0:
        raise ValueError(f"a box of negative size, {width:g} × {height:g}")
    box, category = (left, top, left + width, top + height), int(columns[5])
    if category in (REGION, OTHERS):
        return box, ANY_CLASS, True
    if not 1 <= category <= len(CLASS_NAMES):
        raise ValueError(f"category {category} is outside 0..{OTHERS}")
    return box, category - 1, int(columns[4]) == 0
