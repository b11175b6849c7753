"""Write a checkpoint with weights in float16, which takes half the space.

Biases and norms, which are 1 % of the numbers, stay in float32. Rounding changes the weights, and all
commands compute in float32 from the rounded weights. So measure and export the new file.
"""

import argparse
from pathlib import Path

FLAGS = ("checkpoint",)
EXAMPLES = """
examples:
  python -m training halve runs/cells/model.safetensors --output cells.safetensors
  python -m training compare cells.safetensors runs/cells/model.safetensors --data bccd
      measures what the rounding changes
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `halve`."""
    parser.add_argument("--output", type=Path, required=True, help="a new .safetensors file")


def run(args: argparse.Namespace) -> None:
    """Write a copy of the checkpoint with most numbers in float16, which takes half the space."""
    from training.workflows.halve import halve

    halve(args.checkpoint, args.output)
