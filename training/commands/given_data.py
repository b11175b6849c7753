"""The data that a command works on, and how it is spoken of."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from training.config import (
    CombinedConfig,
    DataConfig,
    FolderConfig,
    ModelConfig,
    ScenesConfig,
)
from training.data.open import open_dataset
from training.data.remarks import describe_remarks
from training.data.sample import Dataset

SCENES_FOR_TRAINING = ScenesConfig(images=512, seed=0, image_hw=(256, 256))
SCENES_UNSEEN = ScenesConfig(images=96, seed=1, image_hw=(256, 256))
GENERATED = "generated scenes"  # in place of a folder, in a checkpoint's provenance

Say = Callable[[str], None]


def say_remarks(of: str, dataset: Dataset, say: Say) -> None:
    """One line on what of the labels is left out, ignored or clipped; none if nothing is."""
    remarks = describe_remarks(dataset.remarks)
    if remarks:
        say(f"{of}: {remarks}")


def described(data: DataConfig) -> str:
    """Where it lies and which part it is, for the one who gave it."""
    match data:
        case ScenesConfig():
            return "generated scenes it has not seen"
        case FolderConfig():
            part = "" if data.folds == 1 else f", folds {', '.join(map(str, data.kept))} of {data.folds}"
            return f"split {data.split} of {data.root}{part}"
        case CombinedConfig():
            return " and ".join(map(described, data.parts))


def data_name(data: DataConfig) -> str:
    """Short, and without the folders of this machine."""
    match data:
        case ScenesConfig():
            return f"{GENERATED}, seed {data.seed}"
        case FolderConfig():
            part = "" if data.folds == 1 else f", fold {' and '.join(map(str, data.kept))} of {data.folds}"
            return f"{Path(data.root).name} {data.split}{part}"
        case CombinedConfig():
            return " + ".join(map(data_name, data.parts))


def open_for(config: ModelConfig, data: DataConfig) -> Dataset:
    """A data set for a model; a folder takes its classes, since labels may name no order of their own."""
    if isinstance(data, FolderConfig) and not data.kept_classes:
        data = replace(data, class_names=config.class_names)
    return open_dataset(data)
