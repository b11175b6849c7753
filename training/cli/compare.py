"""Measure two checkpoints on the same images, and print a 95 % interval of their difference in mAP50-95.

The interval comes from bootstrap samples of the images. If it does not contain 0, one checkpoint is better.
"""

import argparse
from pathlib import Path

from training.cli.data_flags import add_measured_data
from training.cli.flags import CHECKPOINT, read
from training.cli.values import from_zero, positive
from training.data_config import Reading

PROGRESS_TO_STDERR = True  # stdout is the report
FLAGS = ("--json", "--quiet")
EXAMPLES = """
examples:
  python -m training compare runs/mixture runs/dense
      the best checkpoints of two runs, on the validation data of the first
  python -m training compare runs/cells/model.safetensors runs/cells/model.safetensors --data bccd \\
      --second-top-k 1
      one checkpoint, with the trained number of experts and with one expert
  python -m training compare new.safetensors old.safetensors --recipe kitti --data data/kitti
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `compare`."""
    parser.add_argument("first", type=Path, help=CHECKPOINT)
    parser.add_argument("second", type=Path, help="another checkpoint with the same classes")
    add_measured_data(parser, default="the validation data of the first checkpoint's run")
    for flag, which in (("--top-k", "first"), ("--second-top-k", "second")):
        about = f"experts per image and layer in the {which} model; default: as trained"
        parser.add_argument(flag, type=from_zero, metavar="K", help=about)
    draws = "number of bootstrap samples (default: %(default)s)"
    parser.add_argument("--draws", type=positive, default=1000, help=draws)


def run(args: argparse.Namespace) -> None:
    """Measure both checkpoints, and print their mAP and a bootstrap interval of their difference."""
    from training.lab.tables.comparison import comparison_json, comparison_report
    from training.trainer.checkpoint import find_checkpoint
    from training.workflows.measure import compare_checkpoints
    from training.workflows.run_data import measured_on

    pair = find_checkpoint(args.first), find_checkpoint(args.second)
    selection = (args.data, args.split, args.recipe, args.classes, read(Reading, args))
    data = measured_on(pair[0], *selection)
    top_ks = (args.top_k, args.second_top_k)
    found = compare_checkpoints(pair, data, top_ks=top_ks, draws=args.draws)
    print((comparison_json if args.json else comparison_report)(found))
