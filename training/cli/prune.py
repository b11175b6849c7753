"""Write a checkpoint without the experts that are chosen for the fewest images.

Reports how the number of parameters, the GFLOPs, the mAP and the time change.
"""

import argparse
from pathlib import Path

from training.cli.data_flags import add_recipe_data, add_training_data
from training.cli.flags import add_fields, read
from training.cli.values import from_0_to_1
from training.data_config import Reading
from training.lab.prune.command import PruneOptions, prune
from training.lab.prune.select import Rule
from training.lab.prune.table import prune_json, prune_report

PROGRESS_TO_STDERR = True  # stdout is the report
FLAGS = ("checkpoint", "--json", "--quiet")
EXAMPLES = """
Use of experts is measured on the training images and mAP on the validation images, since mAP would be too
high on the images that select the experts. Images that choose only kept experts get the same result as
before; other images get the best of the kept experts instead.

examples:
  python -m training prune runs/cells/model.safetensors --data bccd --keep 3 --output cells-3.safetensors
      keeps the three most used experts of each layer
  python -m training prune runs/cells/model.safetensors --data bccd --min-share 0.05 --output few.safetensors
      removes experts that fewer than 5 % of the images choose; layers may then differ in size
  python -m training prune converted.safetensors --data folder --top-k 2 --keep 2 --output two.safetensors
      for a model that runs every expert: the result keeps two per layer, and runs these two
  python -m training prune voc.safetensors --recipe voc --data data/voc --keep 3 --output voc-3.safetensors
      with the training and validation data of the recipe
  python -m training train --like cells-3.safetensors --data bccd --recipe small-data --run runs/cells-3
      trains the pruned model further
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `prune`."""
    parser.add_argument("--output", type=Path, required=True, help="a new .safetensors file")
    rule = parser.add_mutually_exclusive_group(required=True)
    meanings = {
        "keep N": "keep the N most used experts of each layer",
        "min_share S": "remove experts that less than a share S of the images choose; top_k per layer stay",
    }
    add_fields(rule, Rule, meanings, min_share=from_0_to_1)
    top_k = "experts that run for an image, both to measure use and in the result; default: the checkpoint's"
    add_fields(parser, PruneOptions, {"top_k K": top_k})
    add_training_data(parser, use="measure use on", val_use="measure mAP on")
    add_recipe_data(parser, "measure use on the training data of this recipe, and mAP on its validation data")
    parser.add_argument("--no-latency", action="store_true", help="skip timing, which takes minutes")


def run(args: argparse.Namespace) -> None:
    """Prune the checkpoint, and print what changed."""
    result = prune(
        read(
            PruneOptions,
            args,
            rule=read(Rule, args),
            reading=read(Reading, args),
            latency=not args.no_latency,
        )
    )
    print((prune_json if args.json else prune_report)(result))
