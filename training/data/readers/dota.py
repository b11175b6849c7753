"""Reads DOTA labels of oriented boxes: one txt file per image.

Source: the annotation format at https://captain-whu.github.io/DOTA/dataset.html. A line is
`x1 y1 x2 y2 x3 y3 x4 y4 category difficult`, in pixels. The file can begin with a line `imagesource` and a
line `gsd`.
"""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from training.data.images.image_file import images_by_stem, split_names
from training.data.labels.collected_names import CollectedNames
from training.data.labels.label_file import Box, files_by_stem, finite_numbers, pair_up, parsed_lines
from training.data.labels.labelled_files import LabelledFiles
from training.data.labels.object_shapes import packed_numbers
from training.data.labels.remarks import DIFFICULT
from training.data.labels.rows import LabelRows
from training.data_config import LabelKind
from training.errors import DatasetError, NoSuchSplit

HEADERS = ("imagesource", "gsd")
DIFFICULTY = ("0", "1", "2")  # 1 and 2 are difficult
ONLY_SPLIT = "train"  # the split of a folder that has no folders of splits


class _Object(NamedTuple):
    category: str
    corners: tuple[float, ...]  # x1, y1, … x4, y4
    box: Box
    difficult: bool


class _Folders(NamedTuple):
    images: Path
    labels: Path


def read_dota(
    root: Path, split: str, class_names: tuple[str, ...] = (), *, labels: LabelKind = "boxes"
) -> LabelledFiles:
    """Return one split of a DOTA data set.

    The folders are `<split>/images` and `<split>/labelTxt`, or `images/<split>` and `labelTxt/<split>`. The
    split `train` can also be in the folders `images` and `labelTxt` of the root. Difficult objects become
    ignored regions of their class. The box of an object encloses its corners. The corners themselves are kept
    only if `labels` is "corners".

    Args:
        class_names: the classes, in the order of their ids; empty: all categories of all splits, sorted.

    Raises:
        DatasetError: a line is malformed, no image has a label file, or a category is not in class_names.
        NoSuchSplit: the split does not exist.
    """
    folders = _by_split(root)
    found = next((folders[name] for name in split_names(split) if name in folders), None)
    if found is None:
        raise NoSuchSplit(f"{root}: no split {split!r}; this data set has {sorted(folders)}")
    rows = LabelRows(labels)
    others = () if class_names else folders.values()
    used = [each.category for other in others for path in _texts(other).values() for each in _objects(path)]
    if not used and not class_names:
        raise DatasetError(f"{root}: no label file names an object, so there is no class to learn")
    classes = CollectedNames(used, class_names, rows.remarks)
    images, texts = images_by_stem(found.images), _texts(found)
    pairs = pair_up(str(found.labels), sorted({*images, *texts}), images, texts, rows.remarks)
    for place, (_, path) in enumerate(pairs):
        for each in _objects(path):
            class_id = classes.id_of(each.category)
            if class_id is None:
                raise DatasetError(f"{path}: class {each.category!r} is not one of {list(classes.names)}")
            shape = packed_numbers(each.corners) if labels == "corners" else b""
            rows.add(place, each.box, class_id, ignored=DIFFICULT if each.difficult else None, shape=shape)
    return LabelledFiles(classes.names, [image for image, _ in pairs], rows)


def is_dota(root: Path, split: str) -> bool:
    """Return whether `root` is a folder that has `images` and `labelTxt`, itself or for each split."""
    return root.is_dir() and bool(_by_split(root))


def _by_split(root: Path) -> dict[str, _Folders]:
    """Return the folders of images and labels; the keys are the names of the splits."""
    found: dict[str, _Folders] = {}
    for folder in (root, *sorted(filter(Path.is_dir, root.iterdir()))):
        images = folder / "images"
        labels = sorted(each for each in folder.glob("[lL]abel[tT]xt*") if each.is_dir())
        if not images.is_dir() or not labels:
            continue
        inside = [each for each in sorted(images.iterdir()) if (labels[0] / each.name).is_dir()]
        for each in inside if folder == root else ():
            found[each.name] = _Folders(each, labels[0] / each.name)
        if not (folder == root and inside):
            found[ONLY_SPLIT if folder == root else folder.name] = _Folders(images, labels[0])
    return found


def _texts(folders: _Folders) -> dict[str, Path]:
    return files_by_stem(folders.labels, ".txt")


def _objects(path: Path) -> list[_Object]:
    """Return the objects of a label file, without repetitions; a DatasetError names a malformed line."""
    return list(Counter(each for each in parsed_lines(path, _parse) if each is not None))


def _parse(line: str) -> _Object | None:
    """Return the object in a line, or None if the line is a header; raise ValueError if it is malformed."""
    columns = line.split()
    if columns[0].partition(":")[0].lower() in HEADERS:
        return None
    if len(columns) not in (9, 10):
        raise ValueError(f"{len(columns)} columns; DOTA has 10: x and y of 4 corners, category, difficult")
    corners = finite_numbers(columns[:8])
    if columns[9:] and columns[9] not in DIFFICULTY:
        raise ValueError(f"difficult is {columns[9]}, not 0, 1 or 2")
    x, y = corners[::2], corners[1::2]
    box = (min(x), min(y), max(x), max(y))
    return _Object(columns[8], tuple(corners), box, columns[9:] not in ([], ["0"]))
