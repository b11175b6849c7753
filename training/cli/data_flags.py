"""Flags that select the images to read; they are the same in every command that reads images."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from training.cli.flags import read
from training.cli.values import from_0_to_1
from training.data_config import BITS, FORMATS, Reading
from training.errors import ConfigError
from training.recipes.recipe_data import RECIPES_WITH_DATA, refuse_splits

if TYPE_CHECKING:
    from training.data_config import DataConfig

_FORMATS = (
    "folder with images and labels, as COCO, VOC, YOLO, VisDrone, KITTI or SKU-110K, or with one folder of "
    "images per class, or the file that describes it, such as data.yaml; the format is recognised "
    "(training/data/README.md)"
)
# Without --data, they read the folder of the checkpoint's run.
_OF_RUN = ("compare", "compare-seeds", "evaluate", "experts-report", "inspect", "pareto")
_SPLITS = ("split", "val_split", "calibration_split", "hold_out", "format", "bits")


def written_splits(args: argparse.Namespace) -> list[str]:
    """Return the flags that the user gave and that concern splits; leave out flags with a default value."""
    return [f"--{name.replace('_', '-')}" for name in _SPLITS if getattr(args, name, None) is not None]


def check_splits(args: argparse.Namespace) -> None:
    """Raise ConfigError if flags for splits contradict one another, or the data has no splits to select."""
    flags = written_splits(args)
    if "--hold-out" in flags and "--val-split" in flags:
        raise ConfigError("--hold-out takes the validation images from --split: leave --val-split out")
    if flags and args.command != "predict":  # predict has --bits but no --data
        of_run = args.command in _OF_RUN and getattr(args, "url", None) is None
        refuse_splits(args.recipe, flags, folder=args.data is not None or of_run)


def add_training_data(parser: argparse.ArgumentParser, *, use: str, val_use: str) -> None:
    """Add --data, --split, --val-split and --classes.

    The help of --split contains the verb `use`, such as "train on". The help of --val-split contains the
    verb `val_use`, such as "validate on".
    """
    parser.add_argument("--data", type=Path, help=f"{_FORMATS}; default: generated scenes")
    for flag, default, purpose in (("--split", "train", use), ("--val-split", "val", val_use)):
        parser.add_argument(flag, help=f"split to {purpose} (default: {default})")
    _add_selection(
        parser, f"{val_use} this share of the images of --split, such as 0.2, and {use} the others"
    )


def add_measured_data(
    parser: argparse.ArgumentParser, use: str = _FORMATS, default: str = "generated scenes", of: str = "val"
) -> None:
    """Add --data, --split, --classes and --recipe for a command that measures.

    `use`, `default` and `of` are texts for the help: `use` explains --data, `default` names the data that is
    read without --data, and `of` names the split that is read without --split.
    """
    parser.add_argument("--data", type=Path, help=f"{use}; default: {default}")
    parser.add_argument("--split", help=f"split of the folder; default: {of}")
    _add_selection(
        parser, "measure on the images that a training with --hold-out holds out of the split train"
    )
    add_recipe_data(parser, "measure on the validation data of this recipe")


def measured(args: argparse.Namespace) -> "DataConfig":
    """Return the data that the flags of add_measured_data select on this command line."""
    from training.workflows.dataset_config import measured_data

    reading = read(Reading, args)
    return measured_data(args.data, args.split or reading.usual_split, args.recipe, args.classes, reading)


def add_recipe_data(parser: argparse.ArgumentParser, use: str) -> None:
    """Add --recipe for a command that only uses the recipe's data; `use` states the purpose."""
    about = f"{use}, read from the folder --data; not with --split: {', '.join(RECIPES_WITH_DATA)}"
    parser.add_argument("--recipe", choices=RECIPES_WITH_DATA, metavar="NAME", help=about)


def _add_selection(parser: argparse.ArgumentParser, held_out: str) -> None:
    form = "format of --data; default: the first that its contents show"
    parser.add_argument("--format", choices=FORMATS, help=form)
    about = f"{held_out}; a hash of each image file decides, so names and order do not matter"
    parser.add_argument("--hold-out", type=from_0_to_1, metavar="SHARE", help=about)
    add_bits(parser)
    about = (
        "keep only objects of these classes of --data, in this order; default: all classes. Images "
        "without such objects are kept as background; classifiers leave them out"
    )
    parser.add_argument("--classes", nargs="+", default=(), metavar="NAME", help=about)


def add_bits(parser: argparse.ArgumentParser) -> None:
    """Add --bits, which states how many of the 16 bits of a value are in use in a 16-bit image file."""
    about = (
        "bits that image files with 16 bits per value hold, 8 to 16, such as 12; the upper 8 of them are "
        "used; default: each file's header tells, or else its largest value"
    )
    parser.add_argument("--bits", type=int, choices=BITS, metavar="N", help=about)
