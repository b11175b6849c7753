"""Flags that say which images are read: the same in every command that reads some."""

import argparse
from pathlib import Path
from typing import Any

from training.recipes.recipe_data import RECIPES_WITH_DATA, refuse_splits

_FORMATS = (
    "folder of images and labels: COCO, VOC, YOLO, VisDrone, KITTI or SKU-110K, recognised from what lies "
    "in it (training/data/README.md)"
)


class Split(argparse.Action):
    """The name of a split; `split_flags` are those that were written, since a default is nobody's wish."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, flag: Any = None
    ) -> None:
        """Keep both."""
        setattr(namespace, self.dest, values)
        namespace.split_flags = (*split_flags(namespace), flag)


def split_flags(args: argparse.Namespace) -> tuple[str, ...]:
    """Return the flags that were written of those that name a split."""
    return getattr(args, "split_flags", ())


def check_splits(args: argparse.Namespace) -> None:
    """Raise ConfigError where a split was written and none is read."""
    flags = split_flags(args)
    if flags:
        # Without --data, inspect reads the folder of the checkpoint's run.
        refuse_splits(args.recipe, flags, folder=args.data is not None or args.command == "inspect")


def add_training_data(parser: argparse.ArgumentParser, *, use: str, val_use: str) -> None:
    """Add --data, --split, --val-split and --classes.

    Args:
        use: what the command does on --split, such as "train on"; `val_use` on --val-split.
    """
    parser.add_argument("--data", type=Path, help=f"{_FORMATS}; default: generated scenes")
    for flag, default, done in (("--split", "train", use), ("--val-split", "val", val_use)):
        parser.add_argument(
            flag, action=Split, default=default, help=f"{done} this split (default: %(default)s)"
        )
    _add_classes(parser)


def add_measured_data(
    parser: argparse.ArgumentParser,
    *,
    use: str = _FORMATS,
    default: str = "generated scenes",
    split: str | None = "val",
) -> None:
    """Add --data, --split, --classes and --recipe, of a command that measures.

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
    _add_classes(parser)
    add_recipe_data(parser, "measure on what this recipe validates on")


def add_recipe_data(parser: argparse.ArgumentParser, use: str) -> None:
    """Add --recipe, where it names data alone: `use` says what the command does on which of its splits."""
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
        "background; default: every class",
    )
