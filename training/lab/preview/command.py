"""What `python -m training look` does."""

import argparse
from pathlib import Path
from typing import Any

from training.argument_types import positive
from training.errors import ConfigError
from training.lab.preview.contact_sheet import contact_sheet, training_pictures, write_picture
from training.recipes.overrides import add_balance_argument
from training.workflows.train import TrainOptions, training_config

EXAMPLES = """
examples:
  python -m training look --recipe small-data --data bccd --output batches.png
  python -m training look --recipe paper --variant esmoe-s --data bccd --output batches.png
      with the paper's mosaic, mixup and copy-paste for this size
  python -m training look --recipe small-data --data bccd --epoch 100 --output last.png
      the last epochs, in which pictures stand alone
  python -m training look --recipe small-data --data bccd --balance-classes 0.3 --output balanced.png
      pictures of rare classes more often, as a balanced run is shown them
"""


def look(options: TrainOptions, output: Path, *, epoch: int = 1, pictures: int = 16) -> int:
    """Draw what a run would be shown, in that order, as one picture; returns how many samples are on it.

    Args:
        options: as for train; run_dir and weights have no part in it.
        output: a .png or .jpg; replaced if it is there.
        epoch: counted from 1; the last ones of a run are without mosaic, mixup and copy-paste.
        pictures: at most; an epoch may have fewer.

    Raises:
        ConfigError: the run has no such epoch, or output is no picture's name.
        DatasetError: the data cannot be read.
    """
    config, dataset = training_config(options)
    if not 1 <= epoch <= config.epochs:
        raise ConfigError(f"epoch {epoch} is none of this run's 1..{config.epochs}")
    shown = training_pictures(dataset, config, epoch - 1, pictures)
    write_picture(output, contact_sheet(shown, dataset.class_names))
    return len(shown)


def add_command(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command with the flags that train has not; train's own are the caller's to add."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "look",
        help="draw the samples that a training run would be shown, with their boxes",
        description="Draw the samples of an epoch into one picture: what augmentation makes of the data, and "
        "whether boxes are where they should be. Regions to ignore are hatched. Takes what train takes; "
        "nothing is trained.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="a .png or .jpg")
    parser.add_argument(
        "--epoch", type=positive, default=1, help="from 1; the last ones close mosaic (default: %(default)s)"
    )
    add_balance_argument(parser)
    parser.add_argument("--pictures", type=positive, default=16, help="at most (default: %(default)s)")
    return parser
