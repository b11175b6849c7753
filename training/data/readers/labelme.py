"""Reads LabelMe labels: one json file per image, which can also contain the image itself.

Source: the files that https://github.com/wkentaro/labelme writes. X-AnyLabeling uses the same format.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from math import hypot, isfinite
from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple

from training.data.images.image_file import is_image, passed_over
from training.data.labels.collected_names import CollectedNames
from training.data.labels.files_below import files_below
from training.data.labels.label_file import Box
from training.data.labels.labelled_files import LabelledFiles
from training.data.labels.left_out import LeftOut
from training.data.labels.orientation import checked_hw
from training.data.labels.remarks import DIFFICULT, JOINED, NO_IMAGE, NO_LABELS, REGIONS
from training.data.labels.rows import ANY_CLASS, LabelRows
from training.data.readers.coco_files import LOOKED_AT, holds_keys
from training.data.readers.coco_images import ImageFinder
from training.data.split_choice import entry_of, folder_of_split
from training.errors import DatasetError, NoSuchSplit
from training.progress import bar

OUTLINES = ("polygon", "rectangle", "oriented_rectangle", "rotation", "mask")  # types with a box around them
IGNORE = "__ignore__"  # LabelMe's own label for regions that belong to no class


class _Object(NamedTuple):
    label: str
    box_xyxy: Box
    ignored: str | None


class _Labels(NamedTuple):
    """The contents of a json file: where its image is, how large the image is, and which objects it has."""

    image_path: str
    has_image: bool  # whether the file holds the image
    stated_hw: tuple[float, float] | None
    objects: list[_Object]


def read_labelme(root: Path, split: str, class_names: tuple[str, ...] = ()) -> LabelledFiles:
    """Return one split of a LabelMe folder.

    The folder `<split>`, at any depth, holds the json files of a split. If no folder has the name of a split,
    all files belong to `train`. An image is searched for at `imagePath`, beside its json file, in `images/`
    and in the json file. Polygons, rectangles, circles and masks become the boxes around them. Shapes with
    the same label and `group_id` are one object. Shapes of other types are left out and counted.

    Args:
        class_names: the classes, in the order of their ids; empty: all labels of all splits, sorted.

    Raises:
        DatasetError: the split does not exist, none of its images exists, no json file can be used, or a
            json file has a label that is not in class_names.
    """
    if root.is_file():
        raise DatasetError(f"{root}: the labels of one image; give the folder that holds all of them")
    jsons = _by_split(root, "*.json", split)
    of_split = entry_of(split, jsons)
    if of_split is None:
        known = sorted({str(path.parent.relative_to(root)) for paths in jsons.values() for path in paths})
        raise NoSuchSplit(
            f"{root / split}: no such split with json files; this data set has {known or 'none'}"
        )
    rows, left_out = LabelRows(), LeftOut()
    chosen = of_split if class_names else [path for paths in jsons.values() for path in paths]
    with bar(len(chosen), "file", "reading labels") as progress:
        read = {}
        for path in chosen:
            read[path] = _read(path, left_out, rows.remarks)
            progress.update()
    objects = [each for labels in read.values() if labels for each in labels.objects]
    used = [each.label for each in objects if each.label != IGNORE]
    if not used and not class_names:
        left_out.remark(root, rows.remarks, kept=0)
        raise DatasetError(f"{root}: no json file has a shape with a label, so there is no class to learn")
    classes = CollectedNames(used, class_names, rows.remarks)
    files: dict[Path, _Labels] = {}
    beside = entry_of(split, _by_split(root, "*", split)) or []
    for path, image, labels in _with_images(of_split, read, beside, rows.remarks):
        if image in files:
            left_out.add("a second json file of one image", str(path))
            continue
        boxes = [each.box_xyxy for each in labels.objects]
        image_hw = checked_hw(image, labels.stated_hw, boxes)
        files[image] = labels._replace(stated_hw=image_hw)
        for each in labels.objects:
            class_id = ANY_CLASS if each.label == IGNORE else classes.id_of(each.label)
            if class_id is None:
                raise DatasetError(f"{path}: label {each.label!r} is not one of {list(classes.names)}")
            rows.add(len(files) - 1, each.box_xyxy, class_id, ignored=each.ignored, image_hw=image_hw)
    where = f"{root}, split {split!r}"
    left_out.remark(where, rows.remarks, kept=len(files))
    if not files:
        raise DatasetError(f"{where}: none of {len(of_split)} json files has its image; put it beside")
    rows.remarks[NO_LABELS] += len(set(filter(is_image, beside)) - files.keys())
    rows.remarks.update(passed_over(beside))
    stated_hw = [labels.stated_hw for labels in files.values()]
    return LabelledFiles(classes.names, list(files), rows, stated_hw=stated_hw)


def is_labelme(root: Path, split: str) -> bool:
    """Return whether `root` is a folder with LabelMe's json files in it or in its subfolders."""
    some = islice(_below(root, "*.json"), LOOKED_AT) if root.is_dir() else ()
    return any(holds_keys(path, ("imagePath", "shapes")) for path in some)


def _by_split(root: Path, pattern: str, split: str) -> dict[str, list[Path]]:
    """Return the files below a folder, grouped by the folder in their path that is named after a split."""
    found: dict[str, list[Path]] = {}
    for path in sorted(_below(root, pattern)):
        folders = path.relative_to(root).parent.parts
        found.setdefault(folder_of_split(folders, split), []).append(path)
    return found


def _below(root: Path, pattern: str) -> Iterator[Path]:
    return (path for path in files_below(root) if path.match(pattern))


def _with_images(
    paths: list[Path], read: Mapping[Path, _Labels | None], of_split: list[Path], remarks: Counter[str]
) -> Iterator[tuple[Path, Path, _Labels]]:
    """Yield (json file, file that holds the image, labels) for each usable json file that has an image.

    The second file is the json file itself if the json file contains the image.
    """
    finders: dict[Path, ImageFinder] = {}
    by_stem: dict[str, list[Path]] = {}
    for each in filter(is_image, of_split):
        by_stem.setdefault(each.stem, []).append(each)
    pairs = [(path, labels) for path in paths if (labels := read[path]) is not None]
    pairs.sort(key=lambda pair: pair[0].stem != PureWindowsPath(pair[1].image_path).stem)  # copies come last
    for path, labels in pairs:
        here = path.parent
        if here not in finders:
            finders[here] = ImageFinder([here, here / "images", here.parent / "images", here.parent])
        image = finders[here].find(labels.image_path) if labels.image_path else None
        beside = (each for each in here.iterdir() if each.stem == path.stem and is_image(each))
        image = image or next(beside, path if labels.has_image else None)
        if image is None and len(named := by_stem.get(path.stem, [])) == 1:
            image = named[0]  # such as images/train/a.jpg of labels/train/a.json
        if image is None:
            remarks[NO_IMAGE] += 1
        else:
            yield path, image, labels


def _read(path: Path, left_out: LeftOut, remarks: Counter[str]) -> _Labels | None:
    """Return the contents of a json file; None if the file cannot be used.

    `left_out` counts the files and the shapes that cannot be used.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        left_out.add("a json file cannot be read, its image left out", f"{path} ({error})")
        return None
    if not isinstance(document, dict) or not isinstance(document.get("shapes"), list):
        left_out.add("a json file that has no list of shapes", str(path))
        return None
    objects: list[_Object] = []
    groups: dict[tuple[str, str], int] = {}  # the places of the objects that have a group_id
    for number, shape in enumerate(document["shapes"], start=1):
        try:
            found = _object(shape)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            reason = str(error) if type(error) is ValueError else "a shape is malformed"
            left_out.add(reason, f"{path}: shape {number}")
            continue
        group = shape.get("group_id")
        place = len(objects) if group is None else groups.setdefault((found.label, str(group)), len(objects))
        if place < len(objects):
            remarks[JOINED] += 1
            objects[place] = found._replace(box_xyxy=_around(objects[place].box_xyxy, found.box_xyxy))
        else:
            objects.append(found)
    size = [document.get(key) for key in ("imageHeight", "imageWidth")]
    height, width = (side if isinstance(side, int | float) else 0 for side in size)
    stated_hw = (height, width) if height > 0 and width > 0 else None
    return _Labels(str(document.get("imagePath") or ""), bool(document.get("imageData")), stated_hw, objects)


def _object(shape: Mapping[str, Any]) -> _Object:
    """Return the object that a shape describes.

    If the shape is malformed, the raised error has one of the types that _read catches.
    """
    label = str(shape["label"] or "").strip()
    if label in ("", "_background_"):
        raise ValueError("a shape has no label")
    kind = shape.get("shape_type") or "polygon"  # old files name no type
    if kind not in (*OUTLINES, "circle"):
        raise ValueError(f"a shape is of type {kind!r}, which gives no box")
    try:
        points = [(float(x), float(y)) for x, y in shape["points"]]
    except (TypeError, ValueError):
        points = []
    finite = all(isfinite(each) for xy in points for each in xy)
    if not finite or len(points) < (3 if kind == "polygon" else 2):
        raise ValueError("a shape has too few points, or points that are no finite numbers")
    if kind == "circle":
        (x, y), (edge_x, edge_y) = points[:2]
        radius = hypot(edge_x - x, edge_y - y)
        box = (x - radius, y - radius, x + radius, y + radius)
    else:
        last = kind == "mask"  # the second point of a mask is its last pixel
        x_values, y_values = zip(*points, strict=True)
        box = (min(x_values), min(y_values), max(x_values) + last, max(y_values) + last)
    difficult = shape.get("difficult") or (shape.get("flags") or {}).get("difficult")
    return _Object(label, box, REGIONS if label == IGNORE else DIFFICULT if difficult else None)


def _around(one: Box, other: Box) -> Box:
    (x1, y1, x2, y2), (u1, v1, u2, v2) = one, other
    return min(x1, u1), min(y1, v1), max(x2, u2), max(y2, v2)
