"""Reads COCO labels: one json file per split.

Source: the data format at https://cocodataset.org/#format-data.
"""

import json
from array import array
from collections.abc import Iterator, Mapping
from math import isfinite, nan
from pathlib import Path, PurePosixPath
from typing import Any

from training.data.image_file import images_by_name
from training.data.label_file import Box
from training.data.labelled_files import LabelledFiles
from training.data.labels import LabelRows
from training.data.remarks import CROWDS, NO_IMAGE, UNLISTED
from training.errors import DatasetError, NoSuchSplit


def read_coco(root: Path, split: str) -> LabelledFiles:
    """Return one split of a COCO folder.

    Labels are in `annotations/instances_<split>.json`, images in `<split>/`, `images/<split>/` or `images/`.
    A split can be named without its year: `val` finds `val2017`. Images are ordered by ascending id, as in
    the COCO API. Class ids count the category ids in ascending order, without their gaps. A crowd (`iscrowd`)
    becomes an ignored region of its class. Outlines are not kept, but their stated areas are.

    Raises:
        DatasetError: the label file is missing, truncated or malformed, the image folder is missing, or none
            of the listed images exists.
    """
    path = _annotation_file(root, split)
    parsed = _Parsed(path)
    names = _categories(path, parsed.document)
    images, sizes = _images(path, parsed.document, _image_folder(root, path))
    order = sorted(images)
    rows, position = LabelRows(), {image_id: place for place, image_id in enumerate(order)}
    class_ids = {category_id: class_id for class_id, category_id in enumerate(names)}
    for image_id, category_id, crowd, area, box_xyxy in parsed.annotations():
        if category_id not in class_ids:
            raise DatasetError(f"{path}: boxes are of category {category_id}, which is not listed")
        if image_id not in sizes:
            rows.remarks[UNLISTED] += 1
        elif image_id in position:
            ignored = CROWDS if crowd else None
            at, class_id, image_hw = position[image_id], class_ids[category_id], sizes[image_id]
            rows.add(at, box_xyxy, class_id, ignored=ignored, area=area, image_hw=image_hw)
    rows.remarks[NO_IMAGE] += len(sizes) - len(images)
    files, stated_hw = [images[each] for each in order], [sizes[each] for each in order]
    return LabelledFiles(tuple(names.values()), files, rows, stated_hw=stated_hw)


def is_coco(root: Path, split: str) -> bool:
    """Return whether a folder holds COCO label files."""
    return any(root.glob("annotations/instances_*.json"))


class _Parsed:
    """A parsed COCO file, with its annotations in flat arrays and without the outlines of objects.

    For the COCO data set, outlines would take gigabytes of memory, and a dictionary per box half a gigabyte.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ids = array("q")  # image, category, crowd
        self._numbers = array("d")  # area, x, y, width, height
        try:
            document = json.loads(path.read_text(encoding="utf-8"), object_hook=self._take)
        except OSError as error:
            raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise DatasetError(f"{path}: not whole JSON ({error}); fetch it again") from error
        if not isinstance(document, dict):
            raise DatasetError(f"{path}: must hold images, annotations and categories")
        for key in ("images", "annotations", "categories"):
            if not isinstance(document.get(key), list):
                raise DatasetError(f"{path}: has no list of {key}")
        for left in filter(None, document["annotations"]):
            raise DatasetError(f"{path}: annotation {left}: needs an image_id and a bbox")
        self.document: dict[str, Any] = document

    def annotations(self) -> Iterator[tuple[int, int, bool, float, Box]]:
        """Yield image id, category id, whether it is a crowd, area (NaN: not stated) and box of every one."""
        for place in range(len(self._ids) // 3):
            image_id, category_id, crowd = self._ids[3 * place : 3 * place + 3]
            area, x, y, width, height = self._numbers[5 * place : 5 * place + 5]
            yield image_id, category_id, bool(crowd), area, (x, y, x + width, y + height)

    def _take(self, entry: dict[str, Any]) -> dict[str, Any] | None:
        """Return a JSON object of the file; of an annotation, return None after storing it in the arrays."""
        if "bbox" not in entry or "image_id" not in entry:
            return entry
        name = entry.get("id")
        try:
            box = [float(side) for side in entry["bbox"]]
            stated = entry.get("area")
            area = nan if stated is None else float(stated)
            self._ids.extend((entry["image_id"], entry["category_id"], entry.get("iscrowd") or 0))
        except (TypeError, ValueError, KeyError, OverflowError) as error:
            raise DatasetError(f"{self._path}: annotation {name}: malformed ({error!r})") from error
        if len(box) != 4 or not all(map(isfinite, box)) or min(box[2:]) < 0:
            raise DatasetError(
                f"{self._path}: annotation {name}: bbox {entry['bbox']} is not x, y, width, height"
            )
        self._numbers.extend((area, *box))
        return None


def _annotation_file(root: Path, split: str) -> Path:
    by_split = {
        path.stem.removeprefix("instances_"): path for path in root.glob("annotations/instances_*.json")
    }
    if split in by_split:
        return by_split[split]
    of_a_year = [name for name in by_split if name.rstrip("0123456789") == split]
    if len(of_a_year) != 1:
        exact = root / "annotations" / f"instances_{split}.json"
        raise NoSuchSplit(f"{exact}: no such split; this data set has {sorted(by_split)}")
    return by_split[of_a_year[0]]


def _image_folder(root: Path, path: Path) -> Path:
    split = path.stem.removeprefix("instances_")
    usual = [root / split, root / "images" / split, root / "images"]
    for folder in usual:
        if folder.is_dir():
            return folder
    raise DatasetError(f"{root}: no images for {path.name}; looked in {[str(each) for each in usual]}")


def _categories(path: Path, document: Mapping[str, Any]) -> dict[int, str]:
    """Return the category names by ascending category id."""
    names: dict[int, str] = {}
    for entry in document["categories"]:
        try:
            category_id, name = int(entry["id"]), str(entry["name"])
        except (TypeError, ValueError, KeyError) as error:
            raise DatasetError(f"{path}: category {entry}: needs an id and a name") from error
        if category_id in names:
            raise DatasetError(f"{path}: two categories have id {category_id}")
        names[category_id] = name
    if not names:
        raise DatasetError(f"{path}: lists no category, so there is no class to learn")
    return dict(sorted(names.items()))


def _images(
    path: Path, document: Mapping[str, Any], folder: Path
) -> tuple[dict[int, Path], dict[int, tuple[float, float] | None]]:
    """Return the image files that exist, and the stated (height, width) of all listed images, by image id."""
    there = images_by_name(folder)
    found: dict[int, Path] = {}
    owners: dict[Path, int] = {}
    sizes: dict[int, tuple[float, float] | None] = {}
    for entry in document["images"]:
        try:
            image_id, name = int(entry["id"]), str(entry["file_name"])
            # Some exporters write 0, or null, for a size that they do not know.
            height, width = float(entry.get("height") or 0), float(entry.get("width") or 0)
        except (TypeError, ValueError, KeyError) as error:
            raise DatasetError(f"{path}: image {entry}: needs an id and a file_name") from error
        if image_id in sizes:
            raise DatasetError(f"{path}: two images have id {image_id}")
        sizes[image_id] = (height, width) if height > 0 and width > 0 else None
        file = _file_of(name, folder, there)
        if file is None:
            continue
        if file in owners:
            raise DatasetError(
                f"{path}: images {owners[file]} and {image_id} are both {file}, the latter by its file_name "
                f"{name!r}; put images into the folders that the file names say, and list each once"
            )
        found[image_id], owners[file] = file, image_id
    if not found:
        raise DatasetError(
            f"{folder}: none of the {len(sizes)} images that {path.name} lists; put them there"
        )
    return found, sizes


def _file_of(name: str, folder: Path, there: Mapping[str, Path]) -> Path | None:
    """Return the file of a listed image, found by its relative path, else by its file name; or None."""
    within = PurePosixPath(name.replace("\\", "/"))  # Windows paths
    if len(within.parts) > 1 and not within.is_absolute() and ".." not in within.parts:
        exact = folder / within
        if exact.is_file():
            return exact
    # Some exporters write the path of the image on the machine where it was labelled.
    return there.get(within.name) or there.get(within.name.lower()) or there.get(name)
