"""Opens the data set that a configuration describes, whatever its format."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, assert_never

from training.data.class_subset import ChosenClasses
from training.data.combined import CombinedDataset, FoldedDataset
from training.data.hold_out import HoldOut
from training.data.images.image_file import VALIDATION
from training.data.labels.labelled_files import LabelledFiles
from training.data.readers.coco import read_coco
from training.data.readers.coco_files import is_coco, refuse_other_json
from training.data.readers.dota import is_dota, read_dota
from training.data.readers.image_folder import ImageFolderDataset, is_image_folder, split_folder
from training.data.readers.kitti import LIKE, read_kitti
from training.data.readers.labelme import is_labelme, read_labelme
from training.data.readers.sku110k import read_sku110k
from training.data.readers.visdrone import read_visdrone, split_folders
from training.data.readers.voc import is_voc, read_voc
from training.data.readers.yolo_description import NAMES, is_yolo
from training.data.readers.yolo_txt import read_yolo
from training.data.sample import Dataset
from training.data.scenes.scenes import ClassScenesDataset, ScenesDataset
from training.data_config import CombinedConfig, DataConfig, FolderConfig, LabelKind, ScenesConfig
from training.errors import DatasetError, NoSuchSplit

ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".rar", ".7z")


class Format(NamedTuple):
    """A format of data sets: how to recognise the format, and how to read one split of a data set.

    `fits` and `read` take the root of the data set and the name of the split. The root is a folder, or a file
    that describes the data set.
    """

    looked_for: str  # the files that show the format, for the message that no format fits
    fits: Callable[[Path, str], bool]
    read: Callable[..., Dataset]  # raises NoSuchSplit if there is no such split
    like: Mapping[str, str] | None = None  # see ChosenClasses
    labels: tuple[LabelKind, ...] = ()  # what the labels can state beside boxes; passed to `read`


def _holds(*patterns: str) -> Callable[[Path, str], bool]:
    return lambda root, _: any(any(root.glob(pattern)) for pattern in patterns)


BEYOND_BOXES: tuple[LabelKind, ...] = ("masks", "keypoints", "corners")

# The first format that fits is read. VOC comes late, because it may search the whole folder for xml files.
FORMATS = {
    "yolo": Format("data.yaml, obj.data or classes.txt (YOLO)", is_yolo, read_yolo, labels=BEYOND_BOXES),
    "coco": Format(
        "a json file with images, annotations and categories (COCO)", is_coco, read_coco, labels=BEYOND_BOXES
    ),
    "dota": Format("images/ and labelTxt/ (DOTA)", is_dota, read_dota, labels=("corners",)),
    "sku110k": Format(
        "annotations/annotations_*.csv (SKU-110K)", _holds("annotations/annotations_*.csv"), read_sku110k
    ),
    "kitti": Format("training/label_2/ (KITTI)", _holds("training/label_2"), read_kitti, LIKE),
    "visdrone": Format(
        "images/ beside txt files in annotations/, here or one folder down (VisDrone)",
        # Oxford-IIIT Pet has lists of images in annotations/, and its labels in annotations/xmls/.
        lambda root, _: (
            root.is_dir() and bool(split_folders(root)) and not any(root.glob("annotations/*/*.xml"))
        ),
        read_visdrone,
    ),
    "voc": Format("ImageSets/Main/ or xml beside images (VOC)", is_voc, read_voc),
    "labelme": Format("json files of single images (LabelMe)", is_labelme, read_labelme),
    "images": Format(
        "a folder of images for each class, here or in train/ and val/ (classification)",
        is_image_folder,
        ImageFolderDataset,
    ),
}


# Formats without a list of their classes.
UNLISTED: tuple[Callable[..., Dataset], ...] = (read_voc, read_labelme, read_dota)


def format_of(root: Path, split: str, name: str = "") -> Format:
    """Return the format called `name`; if `name` is empty, recognise the format by the files in the root.

    Raises:
        DatasetError: the root does not exist, or no format fits.
    """
    if not root.exists():
        raise DatasetError(f"{root}: no such folder or file")
    if name:
        return FORMATS[name]
    for known in FORMATS.values():
        if known.read is ImageFolderDataset:  # last, since a folder with labels for it is no class
            refuse_other_json(root)
        if known.fits(root, split):
            return known
    for folder in sorted(path for way in ("*", "*/*") for path in root.glob(way) if path.is_dir()):
        if FORMATS["coco"].fits(folder, split):
            raise DatasetError(f"{root}: the labels are deeper; give the folder {folder}")
    looked_for = ", ".join(each.looked_for for each in FORMATS.values())
    raise DatasetError(
        f"{root}: no known format; {_advice(root)}looked for {looked_for}; if it is one of "
        "these, name it with --format"
    )


def _advice(root: Path) -> str:
    for path in root.iterdir() if root.is_dir() else (root,):
        if path.suffix.lower() in ARCHIVES:
            return f"unpack the archive {path.name} and give its folder; "
    above = (folder / name for folder in root.absolute().parents[:2] for name in NAMES)
    found = next(filter(Path.is_file, above), None)
    return f"did you mean {found}? " if found else ""


def open_dataset(config: DataConfig) -> Dataset:
    """Return the data set that a configuration describes: a folder, several folders, or generated scenes.

    Raises:
        DatasetError: a folder is missing, has no known format or is malformed, or its classes or splits
            differ from the classes or splits in the configuration.
    """
    match config:
        case ScenesConfig():
            if config.labels == "class":
                return ClassScenesDataset(config.images, config.seed, config.image_hw)
            return ScenesDataset(config.images, config.seed, config.image_hw, config.labels)
        case FolderConfig():
            return _open_folder(config)
        case CombinedConfig():
            parts = [open_dataset(part) for part in config.parts]
            origins = [Path(part.root).name for part in config.parts]
            return CombinedDataset(parts, origins, shared_classes=config.shared_classes)
        case _:
            assert_never(config)


def _open_folder(config: FolderConfig) -> Dataset:
    root, split = Path(config.root), config.split
    found = format_of(root, split, config.format)
    if config.labels != "boxes" and config.labels not in found.labels:
        others = ", ".join(name for name, each in FORMATS.items() if config.labels in each.labels)
        raise DatasetError(
            f"{root}: read as {found.looked_for}, which has no {config.labels}; formats with them: {others}"
        )
    try:
        named = (config.class_names,) if found.read in UNLISTED else ()
        asked = {"labels": config.labels} if config.labels != "boxes" else {}
        dataset = found.read(root, split, *named, **asked)
    except NotADirectoryError as error:
        raise DatasetError(f"{root}: --format {config.format} reads folders, and this is a file") from error
    except NoSuchSplit as error:
        if split not in VALIDATION:
            raise
        hint = "name another split, or hold out a fifth of the training images with --hold-out 0.2"
        raise NoSuchSplit(f"{error}; {hint}") from error
    if isinstance(dataset, LabelledFiles | ImageFolderDataset):
        dataset.reader.bits = config.bits
    if config.class_names not in ((), dataset.class_names):
        raise DatasetError(
            f"{root} labels {list(dataset.class_names)}, but the configuration has "
            f"{list(config.class_names)}; give data with the same classes in the same order"
        )
    if config.kept_classes:
        whole = isinstance(dataset, ImageFolderDataset)
        dataset = ChosenClasses(dataset, config.kept_classes, found.like, whole_images=whole)
    if config.hold_out and found.read is ImageFolderDataset and split_folder(root, split) is None:
        raise DatasetError(f"{root}: about every fifth image is in the split val: leave --hold-out out")
    if config.hold_out:
        dataset = HoldOut(dataset, config.hold_out, held_out=config.held_out)
    return dataset if config.folds == 1 else FoldedDataset(dataset, config.folds, config.kept)
