"""Measure two checkpoints on the same images. Images are then drawn with replacement, over and over: the
interval holds 95 % of the differences in mAP50-95. Where it does not hold 0, the one is better."""

import argparse
from pathlib import Path

from training.cli.data_flags import add_measured_data, measured
from training.cli.values import from_zero, positive

FLAGS = ("--json", "--quiet")
EXAMPLES = """
examples:
  python -m training compare runs/mixture/model.safetensors runs/dense/model.safetensors --data bccd
  python -m training compare runs/cells/model.safetensors runs/cells/model.safetensors --data bccd \\
      --second-top-k 1
      one checkpoint with as many experts as it was trained with, and with one
  python -m training compare new.safetensors old.safetensors --recipe kitti --data data/kitti
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `compare`."""
    parser.add_argument("first", type=Path, help="model.safetensors")
    parser.add_argument("second", type=Path, help="another one, with the same classes")
    add_measured_data(parser)
    for flag, of in (("--top-k", "experts that run in the first"), ("--second-top-k", "and in the second")):
        parser.add_argument(flag, type=from_zero, metavar="K", help=f"{of}; default: as trained")
    parser.add_argument("--draws", type=positive, default=1000, help="default: %(default)s")


def run(args: argparse.Namespace) -> int:
    """Measure both checkpoints, and print how certain their difference is."""
    from training.lab.tables.comparison import comparison_json, comparison_report
    from training.workflows.measure import compare_checkpoints

    pair, top_ks = (args.first, args.second), (args.top_k, args.second_top_k)
    found = compare_checkpoints(pair, measured(args), top_ks=top_ks, draws=args.draws)
    print((comparison_json if args.json else comparison_report)(found))
    return 0
