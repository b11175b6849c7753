"""Finds the label files of a COCO data set, and recognises json files of other formats."""

import mmap
from itertools import islice
from pathlib import Path

from training.data.images.image_file import split_names
from training.data.split_choice import entry_of, words_of
from training.errors import DatasetError, NoSuchSplit

COCO_KEYS = ("images", "annotations", "categories")
PREFIXES = ("annotations/", "instances_", "person_keypoints_")
NOT_BOXES = ("captions_", "panoptic_", "stuff_", "image_info_", "labels_")  # other files in annotations/
OF_THEIR_FOLDER = ("_annotations.coco", "labels", "result", "annotations", "coco")  # names that tell no split
LOOKED_AT = 20  # json files of a folder that are looked at to recognise another format
MOST_FILES = 16  # a folder with more json files has one for each image, so it is not searched for COCO files

# What to do with a json file that is not COCO, by keys that show its format.
OTHERS = {
    ("imagePath", "shapes"): "a LabelMe file of one image; give the folder that holds all of them",
    ("from_name", "to_name"): "tasks of Label Studio; export COCO or YOLO there",
    ("rectanglelabels",): "JSON-MIN of Label Studio; export COCO or YOLO there",
    ("region_attributes",): "a project of the VGG Image Annotator; export COCO there",
    ("coordinates", "annotations", "image"): "CreateML; export COCO, YOLO or VOC instead",
    ("dm_format_version",): "Datumaro's own format; convert it to COCO with Datumaro",
    ("asset", "regions"): "VoTT; export VOC there",
    ("item", "slots", "annotations"): "Darwin of V7; export COCO there",
    ("classTitle", "exterior"): "Supervisely's own format; export COCO or YOLO there",
    ("samples", "filepath"): "FiftyOne's own format; export a COCODetectionDataset there",
    ("Labeled Data",): "Labelbox's own format; convert it to COCO",
    ("data_row", "projects"): "Labelbox's own format; convert it to COCO",
    ("box2d",): "BDD100K; convert it to COCO",
    ("images", "annotations", "caption"): "captions of images; give a file with boxes",
    ("segments_info",): "panoptic segmentation; give the file with boxes, such as instances_train2017.json",
    ("image_id", "score"): "detections of a model; give the file that has the images and categories",
}


def is_coco(root: Path, split: str) -> bool:
    """Return whether `root` is a json file, or a folder with COCO label files."""
    return bool(label_files(root)) if root.is_dir() else root.suffix.lower() == ".json"


def label_files(root: Path) -> dict[str, Path]:
    """Return the label files in a folder; the keys are the splits.

    The label files are `annotations/instances_*.json`. If there are no such files, the label files are the
    COCO files directly in the folder and in its subfolders.

    Raises:
        DatasetError: two files belong to the same split.
    """
    official = sorted(root.glob("annotations/instances_*.json"))
    found = official or [path for path in _json_files(root) if holds_keys(path, COCO_KEYS)]
    boxes = [path for path in found if not path.name.startswith(NOT_BOXES)]
    by_split: dict[str, Path] = {}
    for path in boxes or found:  # makesense writes labels_<project>.json
        first = by_split.setdefault(_name(path, root), path)
        if first != path:
            raise DatasetError(
                f"{first} and {path} are of the same split; take one out, or give the file itself"
            )
    return by_split


def file_of_split(root: Path, split: str) -> Path:
    """Return the label file of a split.

    If the root is a file, it is the label file of `train`, and also of the split that the file name states.

    Raises:
        DatasetError: the root has no COCO file.
        NoSuchSplit: this split has no file, or more than one.
    """
    if root.is_file():
        name = _name(root, root.parent.parent)
        found = root if split == "train" else entry_of(split, {name: root})
        if found is None:
            raise NoSuchSplit(f"{root}: the file holds no split {split!r}; give the folder with all splits")
        return found
    there = label_files(root)
    if not there:
        refuse_other_json(root)
        raise DatasetError(f"{root}: no json file with {', '.join(COCO_KEYS)}; export COCO there")
    found = entry_of(split, there)
    if found is None:
        exact = root / "annotations" / f"instances_{split}.json"
        raise NoSuchSplit(f"{exact}: no such split; this data set has {sorted(there)}")
    return found


def image_folders(root: Path, path: Path, split: str) -> list[Path]:
    """Return the folders in which the images of a label file can be, the most likely folder first."""
    beside = path.parent
    home = root if root.is_dir() else beside
    if home == beside and beside.name.lower() in ("annotations", "labels"):
        home = beside.parent
    names = (_name(path, root if root.is_dir() else beside.parent), *split_names(split))
    near = [each for folder in (home, home / "images") if folder.is_dir() for each in folder.iterdir()]
    alike = sorted(each.name for each in near if not words_of(each.name).isdisjoint(split_names(split)))
    own = [*names, *alike]  # such as train, train2017 or train_images
    usual = [way for name in own for way in (name, f"images/{name}", f"{name}/images", f"{name}/data")]
    within = [home / way for way in usual]
    return [*within, beside / "images", beside / "data", home / "images", home / "data", home, beside]


def refuse_other_json(root: Path) -> None:
    """Raise DatasetError if `root` is or contains a json file in a known format other than COCO."""
    some = [root] if root.is_file() else islice(root.rglob("*.json"), LOOKED_AT)
    for path in some:
        for keys, advice in OTHERS.items():
            if holds_keys(path, keys):
                raise DatasetError(f"{path}: {advice}")


def _json_files(root: Path) -> list[Path]:
    found = []
    for folder in (root, *sorted(path for path in root.iterdir() if path.is_dir())):
        jsons = (path for path in folder.iterdir() if path.suffix.lower() == ".json" and path.is_file())
        files = list(islice(jsons, MOST_FILES + 1))
        if len(files) <= MOST_FILES:
            found += sorted(files)
    return found


def _name(path: Path, root: Path) -> str:
    """Return the name of a label file's split: the path below `root` without parts like `annotations/`."""
    name = path.relative_to(root).with_suffix("").as_posix()
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    folder, _, own = name.rpartition("/")
    return folder if folder and own in OF_THEIR_FOLDER else name


def holds_keys(path: Path, keys: tuple[str, ...]) -> bool:
    """Return whether the text of a json file contains all keys.

    The file is not parsed, because parsing a large file would take too long.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            wide = text[:4].count(0) > 0  # UTF-16, as PowerShell writes
            quoted = (f'"{key}"'.encode("utf-16-le" if wide else "utf-8") for key in keys)
            return all(text.find(each) >= 0 for each in quoted)
    except (OSError, ValueError):  # an empty file cannot be mapped
        return False
