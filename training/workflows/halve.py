"""The command `halve`: store the weights of a checkpoint in float16."""

import logging
from pathlib import Path

import torch

from training.errors import CheckpointError
from training.files import sha256_of
from training.trainer.checkpoint import check_output, find_checkpoint, load_model, save_model

log = logging.getLogger(__name__)


def halve(checkpoint: Path, output: Path) -> None:
    """Write a checkpoint whose convolutions and linear layers are rounded to float16.

    Raises CheckpointError if output exists or cannot be written, or if a weight is too large for float16.
    """
    check_output(output)
    checkpoint = find_checkpoint(checkpoint)
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
    log.info(
        f"wrote {output}: {after:.1f} MB, before {before:.1f} MB; no weight moved by more than {largest:.1g}"
    )
