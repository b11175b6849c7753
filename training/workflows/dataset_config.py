"""The data that a command reads, and the name of this data in logs, checkpoints and manifests."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from training.config import ModelConfig, TaskName
from training.data.class_subset import classes_without_objects, joined_by_name
from training.data.labels.remarks import describe_remarks
from training.data.open import open_dataset
from training.data.sample import Dataset
from training.data_config import (
    AS_FOUND,
    CombinedConfig,
    DataConfig,
    FolderConfig,
    Reading,
    ScenesConfig,
    absolute,
)
from training.errors import ConfigError, DatasetError
from training.recipes.recipe_data import RECIPES_WITH_DATA, recipe_splits
from training.skeleton import Skeleton
from training.tasks.choose import task_named

SCENES_FOR_TRAINING = ScenesConfig(images=512, seed=0, image_hw=(256, 256))
SCENES_UNSEEN = ScenesConfig(images=96, seed=1, image_hw=(256, 256))
GENERATED = "generated scenes"  # instead of a folder, in a checkpoint's provenance

log = logging.getLogger(__name__)


def log_remarks(of: str, dataset: Dataset) -> None:
    """Log in one line the labels that are left out, ignored or clipped; log nothing if there are none."""
    if remarks := describe_remarks(dataset.remarks):
        log.info(f"{of}: {remarks}")


def log_measured(of: str, dataset: Dataset) -> None:
    """Log the remarks on a data set to measure on, and the classes that the mean over classes leaves out.

    Raises:
        DatasetError: the data has no labelled object, so nothing can be measured.
    """
    log_remarks(of, dataset)
    if dataset.path(0) is None:
        return  # generated scenes have objects of every class, and are drawn to know their labels
    missing = classes_without_objects(dataset)
    if len(missing) == len(dataset.class_names):
        raise DatasetError(
            f"{of}: {len(dataset)} images and no labelled object of {', '.join(missing)}, so nothing can be "
            "measured; look whether the label files are where the format expects them"
        )
    if missing:
        log.info(f"{of}: classes that nobody labelled, left out of the mean: {', '.join(missing)}")


def training_data(
    folder: Path | None,
    split: str,
    recipe: str | None = None,
    classes: Sequence[str] = (),
    reading: Reading = AS_FOUND,
) -> DataConfig:
    """Return the training data: the recipe's own data, `split` of the folder, or generated scenes.

    The recipe's own data is used if the recipe has any. Generated scenes are used if the recipe has none
    and there is no folder. Only the classes in `classes` are kept, and the first of them gets id 0; if
    `classes` is empty, all are kept. If `reading` holds out a share of the split, the returned data lacks
    the images held out.

    Raises:
        ConfigError: the recipe has its own data and no folder is given, or its data has no classes to select.
    """
    own = recipe_splits(recipe or "", folder)
    if own or folder is None:
        return _of_classes(own.train if own else SCENES_FOR_TRAINING, classes)
    data = FolderConfig(
        root=str(folder),
        split=split,
        format=reading.format,
        hold_out=reading.hold_out,
        bits=reading.bits,
    )
    return _of_classes(absolute(data), classes)


def measured_data(
    folder: Path | None,
    split: str,
    recipe: str | None = None,
    classes: Sequence[str] = (),
    reading: Reading = AS_FOUND,
) -> DataConfig:
    """Return the data to measure on; the arguments are the same as in training_data.

    Generated scenes to measure on are different from the scenes for training. If `reading` holds out
    a share of the split, only the images held out are returned.
    """
    own = recipe_splits(recipe or "", folder)
    if own or folder is None:
        return _of_classes(own.val if own else SCENES_UNSEEN, classes)
    data = training_data(folder, split, None, classes, reading)
    return replace(data, held_out=reading.hold_out > 0) if isinstance(data, FolderConfig) else data


def _of_classes(data: DataConfig, classes: Sequence[str]) -> DataConfig:
    if not classes:
        return data
    if len(set(classes)) < len(classes):
        raise ConfigError(f"--classes repeats a class: {', '.join(classes)}")
    kept = tuple(classes)
    match data:
        case FolderConfig():
            return replace(data, kept_classes=kept)
        case CombinedConfig() if data.shared_classes:
            return replace(data, parts=tuple(replace(part, kept_classes=kept) for part in data.parts))
        case CombinedConfig():
            raise ConfigError("several folders with different classes: leave --classes out")
        case ScenesConfig():
            raise ConfigError("generated scenes have all their classes: give --data, or leave --classes out")


def described(data: DataConfig) -> str:
    """Describe data for the user: its folder, its split, and the part of the split that is used."""
    match data:
        case ScenesConfig():
            return GENERATED if data.seed == SCENES_FOR_TRAINING.seed else f"unseen {GENERATED}"
        case FolderConfig():
            return f"split {data.split} of {data.root}{_part(data)}"
        case CombinedConfig():
            return " and ".join(map(described, data.parts))


def data_name(data: DataConfig) -> str:
    """Return a short name of the data, without paths of this machine."""
    match data:
        case ScenesConfig():
            return f"{GENERATED}, seed {data.seed}"
        case FolderConfig():
            root = Path(data.root)
            return f"{(root.parent if root.is_file() else root).name} {data.split}{_part(data)}"
        case CombinedConfig():
            return " + ".join(map(data_name, data.parts))


def _part(data: FolderConfig) -> str:
    if data.hold_out:
        return f", {'the' if data.held_out else 'without the'} {100 * data.hold_out:g} % held out"
    if len(set(data.kept)) == data.folds:
        return ""
    return f", fold{'s' if len(data.kept) > 1 else ''} {', '.join(map(str, data.kept))} of {data.folds}"


def trained_on(folder: Path | None, data: DataConfig, recipe: str) -> str:
    """Return the name of a checkpoint's training data, without paths, because checkpoints are shared."""
    if folder is None:
        return GENERATED
    return recipe if recipe in RECIPES_WITH_DATA else data_name(data)


def labelled_by(task: TaskName, data: DataConfig) -> DataConfig:
    """Return the data with labels of the kind that the task learns, such as boxes, masks or image classes."""
    labels = task_named(task).labels
    match data:
        case ScenesConfig():
            return replace(data, labels=labels)
        case _ if labels == "class":  # folders with classes of images are known by their contents
            return data
        case FolderConfig():
            return replace(data, labels=labels)
        case CombinedConfig():
            return replace(data, parts=tuple(replace(part, labels=labels) for part in data.parts))


def open_for(config: ModelConfig, data: DataConfig) -> Dataset:
    """Open data and give its classes the ids of the model's classes of the same names.

    Raises:
        DatasetError: no class name matches, or the keypoints differ from the model's.
    """
    dataset = open_dataset(labelled_by(config.task, data))
    check_keypoints(config.skeleton, dataset.skeleton)
    return joined_by_name(dataset, config.class_names)


def check_keypoints(of_model: Skeleton | None, of_data: Skeleton | None) -> None:
    """Check that the data has the model's keypoints in the model's order; raise DatasetError otherwise."""
    expected, found = ([] if each is None else list(each.names) for each in (of_model, of_data))
    if of_model is not None and expected != found:
        raise DatasetError(
            f"the data set labels the keypoints {found or 'none'}, but the model has {expected}; give data "
            "with the same keypoints in the same order"
        )
