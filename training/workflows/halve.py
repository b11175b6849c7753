"""What `python -m training halve` does."""

import argparse
from pathlib import Path

import torch

from training.errors import CheckpointError
from training.files import sha256_of
from training.trainer.checkpoint import check_output, load_model, save_model
from training.workflows.dataset_config import Say

DESCRIPTION = (
    "Write a checkpoint with its weights in float16, for a file of half the size. Whatever reads it computes "
    "in float32 as before, from the rounded weights: measure and export the new file, not the old one. "
    "Biases and norms stay as they are: they are a hundredth of the numbers."
)
EXAMPLES = """
examples:
  python -m training halve runs/cells/model.safetensors --output cells.safetensors
  python -m training compare cells.safetensors runs/cells/model.safetensors --data bccd
      what the rounding changes
"""


def halve(checkpoint: Path, output: Path, *, say: Say) -> None:
    """Round convolutions and linear layers to float16, and write them so.

    Args:
        output: replaces nothing.

    Raises:
        CheckpointError: output cannot be written, or a weight is larger than float16 can hold.
    """
    check_output(output)
    model, provenance = load_model(checkpoint)
    weights = {name: tensor for name, tensor in model.state_dict().items() if tensor.ndim > 1}
    rounded = {name: tensor.half() for name, tensor in weights.items()}
    for name, tensor in rounded.items():
        if not tensor.isfinite().all():
            raise CheckpointError(
                f"{checkpoint}: {name} has weights beyond {torch.finfo(torch.float16).max:g}, which float16 "
                "cannot hold; nothing was written"
            )
    origin = {"halved from": checkpoint.name, "halved from sha256": sha256_of(checkpoint)}
    save_model(output, model, {**provenance, **origin}, stored=rounded)
    largest = max(float((rounded[name] - weights[name]).abs().max()) for name in weights)
    before, after = (path.stat().st_size / 1e6 for path in (checkpoint, output))
    say(f"wrote {output}: {after:.1f} MB, before {before:.1f} MB; no weight moved by more than {largest:.1g}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `halve`, and what they teach."""
    parser.description = DESCRIPTION
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("checkpoint", type=Path, help="model.safetensors")
    parser.add_argument("--output", type=Path, required=True, help="a .safetensors file; replaces nothing")
