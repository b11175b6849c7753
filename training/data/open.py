"""Opens the data set that a configuration names, whatever its format."""

from pathlib import Path
from typing import assert_never

from training.config import CombinedConfig, DataConfig, FolderConfig, ScenesConfig
from training.data.chosen import ChosenClasses
from training.data.combined import CombinedDataset, FoldedDataset
from training.data.sample import Dataset
from training.data.scenes import ScenesDataset
from training.data.voc import VocDataset
from training.data.yolo_txt import YoloTxtDataset
from training.errors import DatasetError


def open_dataset(config: DataConfig) -> Dataset:
    """Make the reader, or the generator of scenes.

    Raises:
        DatasetError: the folder is missing, of no known format, or malformed.
    """
    match config:
        case ScenesConfig():
            return ScenesDataset(config.images, config.seed, config.image_hw)
        case FolderConfig():
            dataset = _open_folder(config)
            if config.kept_classes:
                dataset = ChosenClasses(dataset, config.kept_classes)
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
    if (root / "data.yaml").is_file():
        yolo = YoloTxtDataset(root, config.split)
        if config.class_names not in ((), yolo.class_names):
            raise DatasetError(
                f"{root / 'data.yaml'} names {list(yolo.class_names)},"
                f" but the configuration wants {list(config.class_names)}; make them agree"
            )
        return yolo
    if (root / "ImageSets" / "Main").is_dir() or next(root.rglob("*.xml"), None) is not None:
        return VocDataset(root, config.split, config.class_names)
    raise DatasetError(
        f"{root}: no known format; looked for data.yaml (YOLO), ImageSets/Main/ (VOC)"
        f" and xml files beside images (VOC)"
    )
