"""Checks before a training for errors that would otherwise show only hours later."""

import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
import torch

from training.config import ModelConfig, TrainConfig
from training.data.augmentation.mosaic import MIN_SIDE_PX
from training.data.labels.remarks import describe_remarks
from training.data.sample import Dataset
from training.data.survey import Survey, survey
from training.errors import ConfigError, DatasetError
from training.tasks.choose import task_named

if TYPE_CHECKING:
    from training.export.targets.options import ExportOptions

log = logging.getLogger(__name__)

NAMED = 5  # files that a message names
# Size of a run's files, in times the model's weights. last.safetensors holds the model, its average and two
# moments (4 times); a new one is written beside the old one (2 × 4). model.safetensors and best.safetensors
# hold the weights once each, and a new one of these is written beside the old one (3).
STATE_TIMES = 2 * 4 + 3
GRAPH_TIMES = 3  # weights in an artifact: the graph, its weights file, and room to convert


LEARN, MEASURE = "learn from", "measure on"  # the uses of a split, as messages name them


class Findings(NamedTuple):
    """The reasons to refuse the training or validation data, and oddities that are only logged."""

    problems: list[str]  # nothing can be learned or measured
    odd: list[str]  # worth knowing


class Split(NamedTuple):
    """One split of a data set: its name in messages, its images, and what was found in them."""

    name: str
    dataset: Dataset
    seen: Survey
    needed: bool = True  # whether a training needs the split; otherwise, its problems are only odd

    @classmethod
    def of(cls, name: str, dataset: Dataset, input_hw: tuple[int, int], *, needed: bool = True) -> Self:
        """Decode every image of a split, and return the split with what was found in the images."""
        return cls(name, dataset, survey(dataset, input_hw, f"checking {name}"), needed)


def before_training(config: TrainConfig, run_dir: Path, dataset: Dataset, validation: Dataset | None) -> None:
    """Check the run's folder, the disk and every image of the data; log what is odd.

    Raises:
        ConfigError: the folder cannot be written, or the disk has no space for the files of the run.
        DatasetError: nothing can be learned from the data or measured on it, or an image cannot be decoded.
    """
    check_folder(run_dir, "--run")
    check_space(run_dir, STATE_TIMES * weight_bytes(config.model), "the checkpoints of the run")
    found = look_at(config, dataset, validation)
    for sentence in found.odd:
        log.info(sentence)
    if found.problems:
        more = f" ({len(found.problems) - 1} more problems)" if len(found.problems) > 1 else ""
        raise DatasetError(
            f"{found.problems[0]}{more}; `python -m training check DATA` shows the whole data set"
        )


def before_export(
    name: str, targets: Sequence[str], options: "ExportOptions", model: ModelConfig, repository: Path
) -> None:
    """Check the requirements of an export at the end of a training.

    Raises:
        ConfigError: `name` is not a valid name of a model, a target does not support an option, the options
            do not fit the model, the repository cannot be written, or its disk has too little space.
        ExportError: a package that the precision needs is missing.
    """
    # A training without an export does not load the packages of the targets.
    from training.export.artifact.bundle import check_name
    from training.export.targets.targets import check_options

    check_name(name)
    check_options(targets, options, model)
    check_folder(repository, "--repository")
    graphs = len(targets) if model.paths is None else len(targets) * 2 * model.paths.count
    check_space(repository, GRAPH_TIMES * graphs * weight_bytes(model), "the exported model")


def look_at(config: TrainConfig, dataset: Dataset, validation: Dataset | None = None) -> Findings:
    """Decode every image of a run's data, and return the findings.

    Generated scenes are not decoded, and have no findings.
    """
    if dataset.path(0) is None:
        return Findings([], [])
    input_hw = config.model.input_hw
    splits = [Split.of("training data", dataset, input_hw)]
    if validation is not None:
        splits.append(Split.of("validation data", validation, input_hw))
    return findings(splits, input_hw, task_named(config.model.task).best_by)


def findings(splits: Sequence[Split], input_hw: tuple[int, int], best_by: str) -> Findings:
    """Return reasons why the images cannot be used to train or validate, and oddities to log.

    Args:
        splits: the training data first, then any data to validate on.
        best_by: name of the figure that selects the best checkpoint.
    """
    problems: list[str] = []
    odd: list[str] = []
    train = splits[0]
    for split in splits:
        use = LEARN if split is train else MEASURE
        (problems if split.needed else odd).extend(_problems(split, input_hw, use))
        odd += _odd(split, input_hw, use)
    if train.seen.whole_images and len(set(train.seen.class_ids.tolist())) == 1:
        problems.append(f"{train.name}: all images are of one class; a classifier needs two or more")
    for split in splits[1:]:
        shared = split.seen.shared_with(train.seen)
        if len(shared) == len(split.dataset):
            odd.append(
                f"validating on what is trained on, which flatters the {best_by}: every image of "
                f"{split.name} is also in {train.name}; give another --val-split"
            )
        elif shared:
            odd.append(
                f"{len(shared)} of {len(split.dataset)} images of {split.name} are also in {train.name}, "
                f"which flatters the {best_by}: {_pairs(shared)}"
            )
    return Findings(problems, odd)


def _problems(split: Split, input_hw: tuple[int, int], use: str) -> list[str]:
    seen, found = split.seen, []
    if seen.problems:
        found.append(
            f"{split.name}: {len(seen.problems)} of {len(split.dataset)} images cannot be decoded: "
            f"{_some(seen.problems)}"
        )
    objects = len(seen.class_ids)
    if objects == 0:
        remarks = describe_remarks(split.dataset.remarks)
        hint = "label some, and look whether the label files are where the format expects them"
        if use == MEASURE:
            hint = f'{hint}, or train without validation: --val-split ""'
        found.append(
            f"{split.name}: {len(split.dataset)} images and no labelled object to {use}"
            f"{f' ({remarks})' if remarks else ''}; {hint}"
        )
    elif seen.too_small.all() and use == LEARN:
        shorter = np.median(seen.sides_px.min(axis=1))
        enough = int(np.ceil(max(input_hw) * MIN_SIDE_PX / shorter / 32) * 32)
        found.append(
            f"{split.name}: all {objects} objects are less than {MIN_SIDE_PX:g} px wide or high at --input "
            f"{size_text(input_hw)}, so none can be learned; --input {enough} makes half of them larger"
        )
    return found


def _odd(split: Split, input_hw: tuple[int, int], use: str) -> list[str]:
    seen, found = split.seen, []
    tiny, objects = int(seen.too_small.sum()), len(seen.class_ids)
    if tiny:
        found.append(
            f"{split.name}: {tiny} of {objects} objects are less than {MIN_SIDE_PX:g} px wide or high at "
            f"--input {size_text(input_hw)}; training passes over them"
        )
    if objects and (missing := seen.classes_without_objects()):
        effect = "the model cannot learn them" if use == LEARN else "the mean leaves them out"
        found.append(f"{split.name}: no object of {', '.join(missing)}; {effect}")
    if copies := seen.copies():
        found.append(f"{split.name}: copies of other images: {len(copies)} ({_pairs(copies)})")
    return found


def check_folder(folder: Path, flag: str) -> None:
    """Raise ConfigError unless `folder` can be created and written to; `flag` is the option that sets it."""
    existing = _nearest(folder)
    if not existing.is_dir():
        raise ConfigError(f"{flag} {folder}: {existing} is a file; give a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ConfigError(f"{flag} {folder}: no permission to write into {existing}; give another folder")


def check_space(folder: Path, needed: int, what: str) -> None:
    """Raise ConfigError unless the disk of a folder has space for `needed` bytes; `what` names the files."""
    free = shutil.disk_usage(_nearest(folder)).free
    if free < needed:
        raise ConfigError(
            f"{folder}: {what} need about {needed / 1e9:.2f} GB, and the disk has {free / 1e9:.2f} GB left; "
            "make room, or give a folder on another disk"
        )


def weight_bytes(config: ModelConfig) -> int:
    """Return how many bytes a model's weights take in float32, without creating the weights."""
    with torch.device("meta"):
        model = task_named(config.task).build(config)
    return sum(4 * tensor.numel() for tensor in model.state_dict().values())


def _nearest(folder: Path) -> Path:
    """Return `folder` if it exists, and otherwise its nearest parent that exists."""
    return next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())


def size_text(input_hw: tuple[int, int]) -> str:
    """Return the size of a model input in the form that a user writes after --input."""
    return str(input_hw[0]) if input_hw[0] == input_hw[1] else "x".join(map(str, input_hw))


def _some(texts: Sequence[str]) -> str:
    more = f", and {len(texts) - NAMED} more" if len(texts) > NAMED else ""
    return f"{', '.join(texts[:NAMED])}{more}"


def _pairs(pairs: Sequence[tuple[str, str]]) -> str:
    return _some([f"{one} = {other}" for one, other in pairs])
