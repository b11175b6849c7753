"""Train the rows of YOLO-Master's ablations (arXiv:2512.23273, tables 5 to 8) one after the other, measure
them, and write the paper's figures and ours side by side; or rows of our own.
"""

import argparse
from pathlib import Path

from training.cli.data_flags import add_training_data
from training.cli.flags import STOPPED, UsageError
from training.cli.run_flags import add_settings, train_options
from training.cli.values import from_zero, positive
from training.errors import ConfigError
from training.lab.ablations import command
from training.lab.ablations.report import as_list
from training.lab.ablations.rows import ROUTING, TABLES
from training.workflows.dataset_config import SCENES_FOR_TRAINING

FLAGS = ("--quiet",)
EXAMPLES = """
examples:
  python -m training ablations --table 5 --output runs/ablations
      where experts stand, on generated scenes
  python -m training ablations --data voc --recipe small-data --seeds 0 1 2 --output runs/ablations
      all four tables on your own images, three times: days on two cores
  python -m training ablations --table routing --recipe starter-choice --data folder --output runs/routing
      our own choices for sparsight's routers, undone one by one
the same command goes on after a stop or a crash: finished runs are not repeated, the one under way goes on
from its last checkpoint, failed ones are tried again. More tables and seeds may be asked for later.
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `ablations`."""
    parser.add_argument("--output", type=Path, dest="run_dir", metavar="FOLDER", help="for runs and tables")
    parser.add_argument(
        "--table",
        choices=(*map(str, TABLES), ROUTING),
        action="append",
        help="may be repeated; routing is ours, the numbers are the paper's; default: all of the paper's",
    )
    parser.add_argument("--list", action="store_true", help="show rows, costs and published figures alone")
    add_training_data(parser, use="train on", val_use="measure on")
    scenes = f"without --data: train on N of them (default: {SCENES_FOR_TRAINING.images})"
    parser.add_argument("--scenes", type=positive, metavar="N", help=scenes)
    add_settings(parser, ("--input", "--epochs", "--batch"))
    parser.add_argument(
        "--seeds", type=from_zero, nargs="+", default=[0], metavar="SEED", help="one run each (default: 0)"
    )


def run(args: argparse.Namespace) -> int:
    """Train all rows that are not finished; return 1 if a row failed, 130 if the command was stopped."""
    rows = command.asked_rows(args.table)
    if args.list:
        print(as_list(rows))
        return 0
    if args.run_dir is None:
        raise UsageError("ablations need an --output folder, or --list")
    if args.scenes is not None and args.data is not None:
        raise ConfigError("--scenes is for generated ones: leave it or --data out")
    ended = command.ablations(rows, train_options(args), tuple(dict.fromkeys(args.seeds)))
    if ended.progress.stopped:
        print(f"stopped; what there is stands in {ended.report}; the same command goes on from there")
        return STOPPED
    print(f"\n{ended.markdown}\nwrote {ended.report}")
    return int(bool(ended.progress.failed))
