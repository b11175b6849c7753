"""Flags that say which pictures are read: the same in every command that reads some."""

import argparse
from pathlib import Path

from training.argument_types import Split
from training.recipes.recipe_data import RECIPES_WITH_DATA

_FORMATS = (
    "folder of pictures and labels: COCO, VOC, YOLO, VisDrone, KITTI or SKU-110K, recognised from what lies "
    "in it (training/data/README.md)"
)


def add_training_data(parser: argparse.ArgumentParser, *, use: str, val_use: str) -> None:
    """--data, --split and --val-split.

    Args:
        use: what the command does on --split, such as "train on"; `val_use` on --val-split.
    """
    parser.add_argument("--data", type=Path, help=f"{_FORMATS}; default: generated scenes")
    for flag, default, done in (("--split", "train", use), ("--val-split", "val", val_use)):
        parser.add_argument(
            flag, action=Split, default=default, help=f"{done} this split (default: %(default)s)"
        )


def add_measured_data(
    parser: argparse.ArgumentParser,
    *,
    use: str = _FORMATS,
    default: str = "generated scenes",
    split: str | None = "val",
) -> None:
    """--data, --split and --recipe, of a command that measures.

    Args:
        use: what the folder is, or is for.
        default: what is read without one, in words.
        split: without --split; None where the command itself decides.
    """
    parser.add_argument("--data", type=Path, help=f"{use}; default: {default}")
    of = "of the folder; default: val"
    if split is None:
        of += ", or without --data what the run validated on"
    parser.add_argument("--split", action=Split, default=split, help=of)
    add_recipe_data(parser, "measure on what this recipe validates on")


def add_recipe_data(parser: argparse.ArgumentParser, use: str) -> None:
    """--recipe, where it names data alone: `use` says what the command does on which of its splits."""
    parser.add_argument(
        "--recipe",
        choices=RECIPES_WITH_DATA,
        metavar="NAME",
        help=f"{use} in the folder that --data names, as it does when it trains, without --split: "
        + ", ".join(RECIPES_WITH_DATA),
    )
