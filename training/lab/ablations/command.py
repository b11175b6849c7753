"""What `python -m training ablations` does."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.argument_types import from_zero, positive, size
from training.errors import ConfigError
from training.lab.ablations.report import REPORT_FILE, as_markdown, build_tables, write_report
from training.lab.ablations.rows import ROUTING, ROUTING_ROWS, TABLES, Row, rows_of
from training.lab.ablations.run import AblationOptions, Progress, Say, run_rows, settle
from training.recipes.data_arguments import add_training_data
from training.recipes.recipes import RECIPES
from training.workflows.dataset_config import SCENES_FOR_TRAINING

EXAMPLES = """
examples:
  python -m training ablations --list
      every row, what it costs, and what the paper has
  python -m training ablations --table 5 --output runs/ablations
      where experts stand, on generated scenes
  python -m training ablations --data voc --recipe small-data --seeds 0 1 2 --output runs/ablations
      all four tables on your own pictures, three times: days on two cores
  python -m training ablations --table routing --recipe starter-choice --data folder --output runs/routing
      our own choices for sparsight's routers, undone one by one
the same command goes on after a stop or a crash: finished runs are not repeated, the one under way goes on
from its last checkpoint, failed ones are tried again. More tables and seeds may be asked for later.
"""


@dataclass(frozen=True)
class Ablations:
    """How it ended."""

    markdown: str
    report: Path
    progress: Progress


def ablations(rows: Sequence[Row], options: AblationOptions, *, quiet: bool, say: Say) -> Ablations:
    """Train and measure rows that are not finished yet; the report is written anew after each.

    Raises:
        TrainingError: nothing could be started. Of single rows that fail, the result tells.
    """
    settings, val_data = settle(rows, options)

    def report(progress: Progress) -> str:
        tables = build_tables(rows, options.seeds, progress)
        write_report(options.output, tables, settings, options.seeds)
        return as_markdown(tables, settings, options.seeds)

    progress = run_rows(rows, options, val_data, after_each=report, quiet=quiet, say=say)
    return Ablations(report(progress), options.output / REPORT_FILE, progress)


def asked_rows(tables: Sequence[str] | None) -> tuple[Row, ...]:
    """The rows of these tables; None: of all of the paper's."""
    numbers = [int(table) for table in tables if table != ROUTING] if tables else list(TABLES)
    return (*rows_of(numbers), *(ROUTING_ROWS if tables and ROUTING in tables else ()))


def add_command(subparsers: Any) -> None:
    """Add the command with its flags."""
    parser = subparsers.add_parser(
        "ablations",
        help="train the paper's ablations and set its figures beside ours",
        description="Train the rows of YOLO-Master's ablations (arXiv:2512.23273, tables 5 to 8) one after "
        "the other, measure them, and write the paper's figures and ours side by side; or rows of our own.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="for runs and tables")
    parser.add_argument(
        "--table",
        choices=(*map(str, TABLES), ROUTING),
        action="append",
        help="may be repeated; routing is ours, the numbers are the paper's; default: all of the paper's",
    )
    parser.add_argument("--list", action="store_true", help="show rows and costs; train nothing")
    add_training_data(parser, use="train on", val_use="measure on")
    parser.add_argument(
        "--scenes",
        type=positive,
        metavar="N",
        help=f"without --data: train on N of them (default: {SCENES_FOR_TRAINING.images})",
    )
    parser.add_argument("--recipe", choices=RECIPES, default="quick", help="default: %(default)s")
    parser.add_argument(
        "--input", type=size, metavar="SIZE", help="640 or HEIGHTxWIDTH; default: the recipe's"
    )
    parser.add_argument("--epochs", type=positive, help="default: the recipe's")
    parser.add_argument("--batch", type=positive, help="images a step; default: the recipe's")
    parser.add_argument(
        "--seeds", type=from_zero, nargs="+", default=[0], metavar="SEED", help="one run each (default: 0)"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def options_of(args: argparse.Namespace) -> AblationOptions:
    """What the flags say. Raises ConfigError: generated scenes are asked for beside a folder."""
    if args.scenes is not None and args.data is not None:
        raise ConfigError("--scenes is for generated ones: leave it or --data out")
    return AblationOptions(
        output=args.output,
        seeds=tuple(dict.fromkeys(args.seeds)),
        recipe=args.recipe,
        data=args.data,
        split=args.split,
        val_split=args.val_split or None,
        input_hw=args.input,
        epochs=args.epochs,
        batch_size=args.batch,
        scenes=args.scenes or SCENES_FOR_TRAINING.images,
    )
