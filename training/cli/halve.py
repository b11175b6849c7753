"""Write a checkpoint with weights in float16, at half the size. Biases and norms, 1 % of the numbers, stay in
float32. All commands compute in float32 from the rounded weights, so measure and export the new file."""

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
    """Write a copy of the checkpoint with most numbers in float16, at half the size."""
    from training.workflows.halve import halve

    halve(args.checkpoint, args.output)
