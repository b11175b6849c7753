"""The teacher of a training step: the network itself, with all experts, in evaluation mode."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from training.models.network import Network


@torch.no_grad()
def teacher_answer(model: Network, images: Tensor, path: Tensor | None, dtype: torch.dtype | None) -> Any:
    """Return the network's predictions for images (T, H, W, 3) with all experts, without gradient.

    The network answers as in evaluation: batch norms use their running statistics, because those of a few
    images would be noise, and do not update them; and routers have no noise and no dropout. So the answer for
    an image depends neither on the other images nor on random numbers.

    Args:
        path: weights of the paths (T, P) that the student took, in a network with paths.
        dtype: to compute in, as in the student's pass; None: float32. This function must be called
            outside the student's autocast: autocast keeps weights that it has converted, and those that are
            converted here have no gradient.
    """
    controls = model.default_controls()._replace(top_k=model.config.allowed_top_k[-1], path=path)
    with evaluating(model), torch.autocast(images.device.type, dtype, enabled=dtype is not None):
        return model(images, controls)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Set the model to evaluation mode inside the `with` block; then restore the mode of each module."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
