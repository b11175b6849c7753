"""Reads KITTI object labels: one txt file of fifteen columns per image.

Source: the readme of KITTI's object development kit, https://www.cvlibs.net/datasets/kitti/eval_object.php.
The columns are type, truncated, occluded, alpha, left, top, right and bottom. Size, location and rotation in
3D follow.
"""

from pathlib import Path

from training.data.images.image_file import images_by_stem
from training.data.labels.label_file import Box, box_of_corners, files_by_stem, pair_up, parsed_lines
from training.data.labels.labelled_files import LabelledFiles
from training.data.labels.remarks import REGIONS
from training.data.labels.rows import ANY_CLASS, LabelRows
from training.errors import DatasetError, NoSuchSplit

CLASS_NAMES = ("Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist", "Tram", "Misc")
DONT_CARE = "DontCare"
# By the readme of the development kit, detecting a Van as a Car, or a sitting person as a Pedestrian, is no
# error, "due to their similarity in appearance"; such objects are ignored like a DontCare area.
LIKE = {"Van": "Car", "Person_sitting": "Pedestrian"}
COLUMNS = 15
WHOLE = "training"  # the only split that has labels
FOLDS = 5  # without lists of splits, the first fold is `val`


def read_kitti(root: Path, split: str) -> LabelledFiles:
    """Return one split of KITTI, from images in `training/image_2/` and labels in `training/label_2/`.

    The split `training` has all images. `train` and `val` have the images that `ImageSets/<split>.txt` lists.
    Without such a list, the sorted images are dealt to five folds in turn. `val` is the first fold, and
    `train` is the other four. Then frames of one drive can be in both splits, whereas published lists keep
    all frames of a drive in one split. A DontCare region is ignored for every class.

    Raises:
        DatasetError: the split or a folder does not exist, a line is malformed, or no image has a label file.
    """
    images = images_by_stem(_folder(root, "image_2"))
    labels = files_by_stem(_folder(root, "label_2"), ".txt")
    rows = LabelRows()
    stems = _stems(root, split, sorted({*images, *labels}))
    pairs = pair_up(f"{root / WHOLE}, split {split!r}", stems, images, labels, rows.remarks)
    for image, (_, path) in enumerate(pairs):
        for box, class_id in parsed_lines(path, _parse):
            rows.add(image, box, class_id, ignored=REGIONS if class_id == ANY_CLASS else None)
    return LabelledFiles(CLASS_NAMES, [image for image, _ in pairs], rows)


def _folder(root: Path, name: str) -> Path:
    folder = root / WHOLE / name
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder; KITTI has image_2 and label_2 in {WHOLE}/")
    return folder


def _stems(root: Path, split: str, every: list[str]) -> list[str]:
    listing = root / "ImageSets" / f"{split}.txt"
    if listing.is_file():
        return list(parsed_lines(listing, str.strip))
    splits = {
        WHOLE: every,
        "train": [stem for place, stem in enumerate(every) if place % FOLDS],
        "val": every[::FOLDS],
    }
    if split not in splits:
        raise NoSuchSplit(f"{listing}: no such split; without a list there are training, train and val")
    return splits[split]


def _parse(line: str) -> tuple[Box, int]:
    """Return the box and class id in a line; raise ValueError if the line is malformed."""
    columns = line.split()
    if len(columns) != COLUMNS:
        raise ValueError(f"{len(columns)} columns; a KITTI label has {COLUMNS} (a result has one more)")
    kind, box = columns[0], box_of_corners(columns[4:8])
    if kind == DONT_CARE:
        return box, ANY_CLASS
    if kind not in CLASS_NAMES:
        raise ValueError(f"type {kind!r} is none of {', '.join((*CLASS_NAMES, DONT_CARE))}")
    return box, CLASS_NAMES.index(kind)
