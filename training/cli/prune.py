"""Write a checkpoint without the experts that hardly any image chooses, and say what that changes:
parameters, GFLOPs, mAP, time."""

import argparse
from pathlib import Path

from training.cli.data_flags import add_recipe_data, add_training_data
from training.cli.flags import add_fields, read
from training.cli.values import from_0_to_1
from training.lab.prune.command import PruneOptions, prune
from training.lab.prune.select import Rule
from training.lab.prune.table import prune_json, prune_report

PROGRESS_TO_STDERR = True  # stdout is the report
FLAGS = ("checkpoint", "--json", "--quiet")
EXAMPLES = """
Use is measured on the images that the model was trained on, and mAP on others: to choose experts by the
validation split and then report its mAP would be tuning. Images that chose none of the dropped experts are
answered as before; the others get the next best of those that stay.

examples:
  python -m training prune runs/cells/model.safetensors --data bccd --keep 3 --output cells-3.safetensors
      the three most used experts of each layer stay
  python -m training prune runs/cells/model.safetensors --data bccd --min-share 0.05 --output few.safetensors
      experts go that fewer than one image in twenty chose; layers may end with different numbers
  python -m training prune converted.safetensors --data folder --top-k 2 --keep 2 --output two.safetensors
      a model that runs every expert for every image: from now on two, and only those two are kept
  python -m training prune voc.safetensors --recipe voc --data data/voc --keep 3 --output voc-3.safetensors
      of a recipe with data of its own: what it trains on chooses, what it validates on scores
  python -m training train --like cells-3.safetensors --data bccd --recipe small-data --run runs/cells-3
      and train what is left a little more
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `prune`."""
    parser.add_argument("--output", type=Path, required=True, help="a .safetensors file; replaces nothing")
    rule = parser.add_mutually_exclusive_group(required=True)
    meanings = {
        "keep N": "the N most used experts of each layer stay",
        "min_share S": "experts go that fewer than this share of images chose; top_k of a layer stay",
    }
    add_fields(rule, Rule, meanings, min_share=from_0_to_1)
    top_k = "experts that run for an image, in measuring use and from now on; default: the checkpoint's"
    add_fields(parser, PruneOptions, {"top_k K": top_k})
    add_training_data(parser, use="measure use on", val_use="measure mAP on")
    add_recipe_data(parser, "measure use on what this recipe trains on, and mAP on what it validates on,")
    parser.add_argument("--no-latency", action="store_true", help="do not time both, which takes minutes")


def run(args: argparse.Namespace) -> int:
    """Prune the checkpoint, and print what changed."""
    result = prune(read(PruneOptions, args, rule=read(Rule, args), latency=not args.no_latency))
    print((prune_json if args.json else prune_report)(result))
    return 0
