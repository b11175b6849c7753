"""Opens the data set that a configuration describes, whatever its format."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, assert_never

from training.data.class_subset import ChosenClasses
from training.data.coco import read_coco
from training.data.combined import CombinedDataset, FoldedDataset
from training.data.image_folder import ImageFolderDataset, is_image_folder
from training.data.kitti import LIKE, read_kitti
from training.data.labelled_files import LabelledFiles
from training.data.sample import Dataset
from training.data.scenes import ClassScenesDataset, ScenesDataset
from training.data.sku110k import read_sku110k
from training.data.visdrone import read_visdrone, split_folders
from training.data.voc import read_voc
from training.data.yolo_txt import read_yolo
from training.data_config import CombinedConfig, DataConfig, FolderConfig, ScenesConfig
from training.errors import DatasetError


class Format(NamedTuple):
    """A format of folders: how to recognise it, and how to read one of its splits."""

    looked_for: str  # the files that show the format, for the message that no format fits
    fits: Callable[[Path, str], bool]  # whether a folder has the format; takes the folder and the split
    read: Callable[[Path, str], Dataset]  # takes the folder and the split
    like: Mapping[str, str] | None = None  # see ChosenClasses


def _holds(*patterns: str) -> Callable[[Path, str], bool]:
    return lambda root, _: any(any(root.glob(pattern)) for pattern in patterns)


# The first format that fits is read. VOC comes late, since looking for xml files may search the whole folder.
FORMATS = (
    Format("data.yaml (YOLO)", _holds("data.yaml"), read_yolo),
    Format("annotations/instances_*.json (COCO)", _holds("annotations/instances_*.json"), read_coco),
    Format("annotations/annotations_*.csv (SKU-110K)", _holds("annotations/annotations_*.csv"), read_sku110k),
    Format("training/label_2/ (KITTI)", _holds("training/label_2"), read_kitti, LIKE),
    Format(
        "images/ beside txt files in annotations/, here or one folder down (VisDrone)",
        lambda root, _: bool(split_folders(root)),
        read_visdrone,
    ),
    Format("ImageSets/Main/ or xml beside images (VOC)", _holds("ImageSets/Main", "**/*.xml"), read_voc),
    Format(
        "a folder of images for each class, here or in train/ and val/ (classification)",
        is_image_folder,
        ImageFolderDataset,
    ),
)


def format_of(root: Path, split: str) -> Format:
    """Return the format that a folder's contents show; raise DatasetError if it is missing or none fits."""
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder")
    for known in FORMATS:
        if known.fits(root, split):
            return known
    looked_for = ", ".join(each.looked_for for each in FORMATS)
    raise DatasetError(f"{root}: no known format; looked for {looked_for}")


def open_dataset(config: DataConfig) -> Dataset:
    """Return the data set of a configuration: a reader of a folder, generated scenes, or several as one.

    Raises:
        DatasetError: a folder is missing, is of no known format or is malformed, or its classes or splits
            are not those of the configuration.
    """
    match config:
        case ScenesConfig():
            scenes = ScenesDataset if config.labels == "boxes" else ClassScenesDataset
            return scenes(config.images, config.seed, config.image_hw)
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
    found = format_of(root, split)
    # Only VOC has no list of its classes.
    dataset = read_voc(root, split, config.class_names) if found.read is read_voc else found.read(root, split)
    if isinstance(dataset, LabelledFiles | ImageFolderDataset):
        dataset.reader.bits = config.bits
    if config.class_names not in ((), dataset.class_names):
        raise DatasetError(
            f"{root} labels {list(dataset.class_names)}, but wanted are {list(config.class_names)};"
            " give data with the same classes in the same order"
        )
    if config.kept_classes:
        whole = isinstance(dataset, ImageFolderDataset)
        dataset = ChosenClasses(dataset, config.kept_classes, found.like, whole_images=whole)
    return dataset if config.folds == 1 else FoldedDataset(dataset, config.folds, config.kept)
