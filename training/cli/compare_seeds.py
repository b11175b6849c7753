"""Decide whether one variant is ahead of another, if both were trained with several seeds.

The checkpoints of the last epochs are measured on the same images. A variant is ahead only if two 95 %
intervals of its lead exclude 0: one by a bootstrap over the images, one by Student's t over the seeds. At
least three seeds are needed. Each checkpoint is measured once: its detections are kept beside it.
"""

import argparse
from pathlib import Path

from training.cli.data_flags import add_measured_data
from training.cli.flags import read
from training.cli.values import from_zero, positive
from training.data_config import Reading

PROGRESS_TO_STDERR = True  # stdout is the report
FLAGS = ("--json", "--quiet")
EXAMPLES = """
examples:
  python -m training compare-seeds runs/mixture-? --against runs/dense-?
      the runs of two variants, on the validation data of the first run; pairs have the same seed
  python -m training compare-seeds runs/mixture-? --against runs/mixture-? --second-top-k 1
      one variant, with the trained number of experts and with one expert
  python -m training compare-seeds runs/a-? --against runs/b-? --recipe starter --data folder
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `compare-seeds`."""
    runs = "folders of finished runs that differ only in the seed"
    parser.add_argument("runs", type=Path, nargs="+", help=runs)
    against = "folders of the finished runs to compare with"
    parser.add_argument("--against", type=Path, nargs="+", required=True, metavar="RUN", help=against)
    add_measured_data(parser, default="the validation data of the first run")
    for flag, which in (("--top-k", "runs"), ("--second-top-k", "runs after --against")):
        about = f"experts per image and layer in the {which}; default: as trained"
        parser.add_argument(flag, type=from_zero, metavar="K", help=about)
    draws = "number of bootstrap samples (default: %(default)s)"
    parser.add_argument("--draws", type=positive, default=1000, help=draws)


def run(args: argparse.Namespace) -> None:
    """Measure the runs, and print the figures of each seed, the lead with its intervals, and the verdict."""
    from training.lab.tables.seeds import seeds_json, seeds_report
    from training.workflows.compare_seeds import compare_seeds, pair_runs
    from training.workflows.run_data import measured_on

    pairs, left_out = pair_runs(args.runs, args.against)
    selection = (args.data, args.split, args.recipe, args.classes, read(Reading, args))
    data = measured_on(pairs[0][0].checkpoint, *selection)
    top_ks = (args.top_k, args.second_top_k)
    found = compare_seeds(pairs, data, left_out=left_out, top_ks=top_ks, draws=args.draws)
    print((seeds_json if args.json else seeds_report)(found))
