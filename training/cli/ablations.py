"""Train and measure models of YOLO-Master's ablation tables, or models of our own.

The tables are tables 5 to 8 of arXiv:2512.23273. Writes a report that compares the paper's figures with ours.
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
      the placement of experts, on generated scenes
  python -m training ablations --data voc --recipe small-data --seeds 0 1 2 --output runs/ablations
      all four tables on your own images with three seeds; takes days on two CPU cores
  python -m training ablations --table routing --recipe starter-choice --data folder --output runs/routing
      our settings for the routers of sparsight, each turned off in one row
  python -m training ablations --table routing --row unchanged --row averaged --seeds 0 1 2 --output runs/two
      two rows of it, with three seeds
The same command resumes after a stop or a crash: it skips finished runs, continues the interrupted run from
its last checkpoint, and repeats failed runs. You can add tables and seeds later.
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `ablations`."""
    folder = "folder for the runs and the report"
    parser.add_argument("--output", type=Path, dest="run_dir", metavar="FOLDER", help=folder)
    tables = "table of the paper, or routing for our rows; may be repeated; default: all of the paper's"
    choices = (*map(str, TABLES), ROUTING)
    parser.add_argument("--table", choices=choices, action="append", help=tables)
    only = "only the rows whose name contains TEXT; may be repeated; default: all rows of the tables"
    parser.add_argument("--row", action="append", metavar="TEXT", help=only)
    parser.add_argument("--list", action="store_true", help="only list the rows, their cost and the figures")
    add_training_data(parser, use="train on", val_use="measure on")
    scenes = f"without --data: number of generated scenes to train on (default: {SCENES_FOR_TRAINING.images})"
    parser.add_argument("--scenes", type=positive, metavar="N", help=scenes)
    add_settings(parser, ("--input", "--epochs", "--batch"))
    seeds = "train each row once with each seed (default: 0)"
    parser.add_argument("--seeds", type=from_zero, nargs="+", default=[0], metavar="SEED", help=seeds)


def run(args: argparse.Namespace) -> int:
    """Train every table row that has no finished run; return 1 if a row failed, or 130 if stopped."""
    rows = command.asked_rows(args.table, args.row)
    if args.list:
        print(as_list(rows))
        return 0
    if args.run_dir is None:
        raise UsageError("ablations needs --output FOLDER, or --list")
    if args.scenes is not None and args.data is not None:
        raise ConfigError("--scenes is for generated scenes: leave --scenes or --data out")
    ended = command.ablations(rows, train_options(args), tuple(dict.fromkeys(args.seeds)))
    if ended.progress.stopped:
        print(f"stopped; the finished rows are in {ended.report}; the same command resumes")
        return STOPPED
    print(f"\n{ended.markdown}\nwrote {ended.report}")
    return int(bool(ended.progress.failed))
