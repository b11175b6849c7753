"""Opens the data set that a configuration names, whatever its format."""

from pathlib import Path
from typing import assert_never

from training.data import kitti
from training.data.class_scenes import ClassScenesDataset
from training.data.class_subset import ChosenClasses
from training.data.coco import CocoDataset
from training.data.combined import CombinedDataset, FoldedDataset
from training.data.image_folder import ImageFolderDataset, is_image_folder
from training.data.kitti import KittiDataset
from training.data.sample import Dataset
from training.data.scenes import ScenesDataset
from training.data.sku110k import Sku110kDataset
from training.data.visdrone import VisDroneDataset, split_folders
from training.data.voc import VocDataset
from training.data.yolo_txt import YoloTxtDataset
from training.data_config import CombinedConfig, DataConfig, FolderConfig, ScenesConfig
from training.errors import DatasetError

LOOKED_FOR = (
    "data.yaml (YOLO)",
    "annotations/instances_*.json (COCO)",
    "annotations/annotations_*.csv (SKU-110K)",
    "training/label_2/ (KITTI)",
    "images/ beside txt files in annotations/, here or one folder down (VisDrone)",
    "ImageSets/Main/ (VOC)",
    "xml files beside images (VOC)",
    "a folder of images for each class, here or in train/ and val/ (classification)",
)


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
            dataset = _open_folder(config)
            if config.kept_classes:
                like = kitti.LIKE if isinstance(dataset, KittiDataset) else {}
                whole = isinstance(dataset, ImageFolderDataset)
                dataset = ChosenClasses(dataset, config.kept_classes, like, whole_images=whole)
            return dataset if config.folds == 1 else FoldedDataset(dataset, config.folds, config.kept)
        case CombinedConfig():
            parts = [open_dataset(part) for part in config.parts]
            origins = [Path(part.root).name for part in config.parts]
            return CombinedDataset(parts, origins, shared_classes=config.shared_classes)
        case _:
            assert_never(config)


def _open_folder(config: FolderConfig) -> Dataset:
    root = Path(config.root)
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder")
    dataset = _reader(root, config)
    if config.class_names not in ((), dataset.class_names):
        raise DatasetError(
            f"{root} labels {list(dataset.class_names)}, but wanted are {list(config.class_names)};"
            " give data with the same classes in the same order"
        )
    return dataset


def _reader(root: Path, config: FolderConfig) -> Dataset:
    """Return the reader for the format that the folder's contents show.

    Searching for xml files comes late, since it may have to walk the whole folder.
    """
    split = config.split
    if (root / "data.yaml").is_file():
        found: Dataset = YoloTxtDataset(root, split)
    elif any((root / "annotations").glob("instances_*.json")):
        found = CocoDataset(root, split)
    elif any((root / "annotations").glob("annotations_*.csv")):
        found = Sku110kDataset(root, split)
    elif (root / "training" / "label_2").is_dir():
        found = KittiDataset(root, split)
    elif split_folders(root):
        found = VisDroneDataset(root, split)
    elif (root / "ImageSets" / "Main").is_dir() or next(root.rglob("*.xml"), None) is not None:
        found = VocDataset(root, split, config.class_names)
    elif is_image_folder(root, split):
        found = ImageFolderDataset(root, split)
    else:
        raise DatasetError(f"{root}: no known format; looked for {', '.join(LOOKED_FOR)}")
    return found
