"""Write a checkpoint with its weights in float16, for a file of half the size. Whatever reads it computes in
float32 as before, from the rounded weights: measure and export the new file, not the old one. Biases and
norms stay as they are: they are a hundredth of the numbers."""

import argparse
from pathlib import Path

FLAGS = ("checkpoint",)
EXAMPLES = """
examples:
  python -m training halve runs/cells/model.safetensors --output cells.safetensors
  python -m training compare cells.safetensors runs/cells/model.safetensors --data bccd
      what the rounding changes
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `halve`."""
    parser.add_argument("--output", type=Path, required=True, help="a .safetensors file; replaces nothing")


def run(args: argparse.Namespace) -> int:
    """Write the halved checkpoint."""
    from training.workflows.halve import halve

    halve(args.checkpoint, args.output)
    return 0
