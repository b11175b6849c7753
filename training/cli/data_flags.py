"""Flags that select the images to read; they are the same in every command that reads images."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from training.recipes.recipe_data import RECIPES_WITH_DATA, refuse_splits

if TYPE_CHECKING:
    from training.data_config import DataConfig

_FORMATS = (
    "folder of images and labels: COCO, VOC, YOLO, VisDrone, KITTI or SKU-110K, recognised from what lies "
    "in it, or of a folder of images for each class (training/data/README.md)"
)
_SPLITS = ("split", "val_split", "calibration_split")


def written_splits(args: argparse.Namespace) -> list[str]:
    """Return the flags on this command line that name a split, without defaults."""
    return [f"--{name.replace('_', '-')}" for name in _SPLITS if getattr(args, name, None) is not None]


def check_splits(args: argparse.Namespace) -> None:
    """Raise ConfigError if the command line names a split and the data has none to select."""
    flags = written_splits(args)
    if flags:
        # Without --data, inspect reads the folder of the checkpoint's run.
        refuse_splits(args.recipe, flags, folder=args.data is not None or args.command == "inspect")


def add_training_data(parser: argparse.ArgumentParser, *, use: str, val_use: str) -> None:
    """Add --data, --split, --val-split and --classes.

    Args:
        use: what the command does on --split, such as "train on".
        val_use: what the command does on --val-split.
    """
    parser.add_argument("--data", type=Path, help=f"{_FORMATS}; default: generated scenes")
    for flag, default, done in (("--split", "train", use), ("--val-split", "val", val_use)):
        parser.add_argument(flag, help=f"{done} this split (default: {default})")
    _add_classes(parser)


def add_measured_data(
    parser: argparse.ArgumentParser, use: str = _FORMATS, default: str = "generated scenes", of: str = "val"
) -> None:
    """Add --data, --split, --classes and --recipe, for a command that measures.

    Args:
        use: what the folder is, or is for.
        default: what is read without --data, in words.
        of: what is read without --split, in words.
    """
    parser.add_argument("--data", type=Path, help=f"{use}; default: {default}")
    parser.add_argument("--split", help=f"of the folder; default: {of}")
    _add_classes(parser)
    add_recipe_data(parser, "measure on what this recipe validates on")


def measured(args: argparse.Namespace) -> "DataConfig":
    """Return the data that these flags name."""
    from training.workflows.dataset_config import measured_data

    return measured_data(args.data, args.split or "val", args.recipe, args.classes)


def add_recipe_data(parser: argparse.ArgumentParser, use: str) -> None:
    """Add a --recipe that only selects data; `use` states what the command does on which of its splits."""
    parser.add_argument(
        "--recipe",
        choices=RECIPES_WITH_DATA,
        metavar="NAME",
        help=f"{use} in the folder that --data names, as it does when it trains, without --split: "
        + ", ".join(RECIPES_WITH_DATA),
    )


def _add_classes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--classes",
        nargs="+",
        default=(),
        metavar="NAME",
        help="of --data: only the objects of these classes, in this order; images without any stay, as "
        "background (a classifier leaves them out); default: every class",
    )
