"""The command `python -m training check`: show how a data set is read, and what is odd about it."""

from collections.abc import Sequence
from dataclasses import replace
from os.path import commonpath
from pathlib import Path
from textwrap import wrap
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.columns import in_columns
from training.config import TaskName
from training.data.augmentation.mosaic import MIN_SIDE_PX
from training.data.class_subset import joined_by_name
from training.data.labels.remarks import describe_remarks
from training.data.open import FORMATS, format_of, open_dataset
from training.data.sample import Dataset
from training.data.survey import Survey
from training.data_config import CombinedConfig, DataConfig, FolderConfig, ScenesConfig
from training.errors import ConfigError, DatasetError, NoSuchSplit
from training.lab.preview import check_suffix, edges_of, letterboxed, write_sheet
from training.tasks.choose import task_named
from training.tasks.task import Task
from training.workflows.dataset_config import check_keypoints, labelled_by
from training.workflows.preflight import Split, findings, size_text
from training.workflows.train import TrainOptions, data_configs

COCO_AREAS = (32**2, 96**2)  # source pixels²: objects are small below the first, and large from the second
WIDTH = 110
FOLDERS = 3  # folders of a split that are named
SIZES = ("small", "medium", "large", "median px", f"under {MIN_SIDE_PX:g} px")


class Checked(NamedTuple):
    """The report of a check, and the reasons why training on the data set would fail, if there are any."""

    report: str  # text of several lines
    problems: list[str]  # why a training would fail or learn nothing; empty: it can learn


def check(
    options: TrainOptions,
    output: Path | None = None,
    *,
    task_name: TaskName | None = None,
    input_hw: tuple[int, int] | None = None,
    images: int = 16,
) -> Checked:
    """Decode every image of a data set; report its splits, its objects by class and size, and what is odd.

    Args:
        options: the folder, its splits and its classes, as in the options of `train`; all other options are
            ignored.
        task_name: the task whose labels are read; None: `classify` if images have classes, else `detect`.
        output: .png or .jpg file for a drawing of training images with their labels; None: draw nothing.
        input_hw: size of the model input. Objects are measured at this size. None: the task's usual size.
        images: largest number of images in the drawing.

    Raises:
        ConfigError: no folder is given, or the suffix of output is not that of an image.
        DatasetError: the training data cannot be read, or its labels do not fit the task.
    """
    if output is not None:
        check_suffix(output)
    config, val_config = data_configs(options)
    if isinstance(config, ScenesConfig):
        raise ConfigError("generated scenes need no check: give the folder of a data set")
    dataset, task = _opened(config, task_name)
    input_hw = input_hw or task.defaults.input_hw
    splits = [Split.of(_name(config, "train"), dataset, input_hw)]
    problems: list[str] = []
    odd: list[str] = []
    for name, other in _other_splits(config, val_config).items():
        try:
            opened = joined_by_name(open_dataset(labelled_by(task.name, other)), dataset.class_names)
            check_keypoints(dataset.skeleton, opened.skeleton)
            splits.append(Split.of(name, opened, input_hw, needed=other is val_config))
        except NoSuchSplit as error:
            if other is val_config:  # nobody asked for a split "test"
                odd.append(f"{name}: {error}")
        except DatasetError as error:
            (problems if other is val_config else odd).append(f"{name}: {error}")
    found = findings(splits, input_hw, task.best_by)
    remarks = [f"{each.name}: {text}" for each in splits if (text := describe_remarks(each.dataset.remarks))]
    lines = _heading(config, dataset, task.name, input_hw)
    for split in splits:
        lines += ["", *_described(split)]
    if noted := [*remarks, *odd, *found.odd]:
        lines += ["", "remarks:", *(f"  {each}" for each in noted)]
    if output is not None and (drawn := _draw(splits[0], input_hw, images, output)):
        lines += ["", f"drew {drawn} images of {splits[0].name} with their labels into {output}"]
    return Checked("\n".join(lines), problems + found.problems)


def _opened(config: DataConfig, name: TaskName | None) -> tuple[Dataset, Task]:
    """Return a data set with the labels of a task, and the task.

    `name` names the task; if it is None, the task is chosen as `check` describes for its task_name.
    """
    dataset = open_dataset(labelled_by(name, config) if name else config)
    whole = _has_image_classes(dataset)
    task = task_named(name or ("classify" if whole else "detect"))
    if whole != (task.name == "classify"):
        task.check_labels(dataset)  # this call raises an error
    return dataset, task


def _other_splits(config: DataConfig, val_config: DataConfig | None) -> dict[str, DataConfig]:
    """Return the splits other than the training split; the keys are their names in the report.

    The validation split is included if there is one, and the test split if the data set is a single folder.
    """
    others = {} if val_config is None else {_name(val_config, "val"): val_config}
    if isinstance(config, FolderConfig):
        others.setdefault("test", replace(config, split="test", hold_out=0.0, held_out=False))
    return others


def _name(config: DataConfig, usual: str) -> str:
    """Return the name of a split in the report: `usual` if the split joins several folders."""
    if not isinstance(config, FolderConfig):
        return usual
    return "held out" if config.held_out else config.split


def _heading(
    config: FolderConfig | CombinedConfig, dataset: Dataset, task: TaskName, input_hw: tuple[int, int]
) -> list[str]:
    """Return the first lines of the report: folders, task and keypoints."""
    folders = config.parts if isinstance(config, CombinedConfig) else (config,)
    lines = [*map(_format, folders), f"task {task}, sizes at --input {size_text(input_hw)}"]
    if dataset.skeleton is not None:
        lines += wrap(f"keypoints: {', '.join(dataset.skeleton.names)}", WIDTH, subsequent_indent="  ")
    return lines


def _format(config: FolderConfig) -> str:
    """Return a text that names the folder, its format, and what showed that it has this format."""
    found = format_of(Path(config.root), config.split, config.format)
    name = next(name for name, each in FORMATS.items() if each is found)
    return f"{config.root}: format {name}, recognised by {found.looked_for}"


def _has_image_classes(dataset: Dataset) -> bool:
    """Return whether each image has one class as its label, instead of labelled objects.

    The first image that can be decoded decides this for the whole data set.
    """
    for index in range(len(dataset)):
        try:
            return dataset.load(index).image_class is not None
        except DatasetError:
            continue
    return False


def _described(split: Split) -> list[str]:
    """Return lines on one split: its images, its folders, and a table of its classes."""
    seen = split.seen
    folders = sorted({str(Path(file).parent) for file in seen.files})
    where = ", ".join(folders)
    if len(folders) > FOLDERS:
        where = f"{len(folders)} folders under {commonpath(folders)}"
    empty = len(seen.files) - len(set(seen.image_ids.tolist())) - len(seen.problems)
    objects = f", {empty} of them without objects, {len(seen.class_ids)} objects"
    rows = [_row(name, seen, seen.class_ids == class_id) for class_id, name in enumerate(seen.class_names)]
    rows.append(_row("all", seen, np.ones(len(seen.class_ids), dtype=np.bool_)))
    heading: Sequence[str] = ("class", "images", "objects", *SIZES)
    if seen.whole_images:
        objects, heading, rows = "", heading[:2], [row[:2] for row in rows]
    return [
        f"{split.name}: {len(seen.files)} images{objects}, in {where}",
        *in_columns([heading, *rows], "l" + "r" * (len(heading) - 1), indent=2),
    ]


def _row(name: str, seen: Survey, chosen: NDArray[np.bool_]) -> list[str]:
    """Return a row of the report's table about the objects that the mask `chosen` selects.

    The row has these columns: the name, the number of images that have a selected object, the number of
    selected objects, how many of them are small, medium and large by COCO's sizes, their median size at the
    size of the model input, and how many of them are too small.
    """
    small, large = COCO_AREAS
    areas, sides = seen.areas[chosen], seen.sides_px[chosen]
    counts = [
        len(set(seen.image_ids[chosen].tolist())),
        len(areas),
        (areas < small).sum(),
        ((areas >= small) & (areas < large)).sum(),
        (areas >= large).sum(),
    ]
    median = f"{np.median(np.sqrt(sides.prod(axis=1))):.0f}" if len(sides) else "-"
    return [name, *map(str, counts), median, str(seen.too_small[chosen].sum())]


def _draw(split: Split, input_hw: tuple[int, int], images: int, output: Path) -> int:
    """Draw images that are spread evenly over a split, with their labels; return the number of images."""
    whole = [index for index, digest in enumerate(split.seen.digests) if digest]
    labelled = sorted(set(split.seen.image_ids.tolist())) or whole
    places = np.linspace(0, len(labelled) - 1, min(images, len(labelled))).round().astype(int)
    samples = [letterboxed(split.dataset.load(labelled[place]), input_hw) for place in places]
    if samples:
        write_sheet(samples, split.dataset.class_names, output, edges_of(split.dataset))
    return len(samples)
