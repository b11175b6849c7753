"""Compute the teacher's answer for a training step: the network itself answers, with all experts."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from training.models.network import Network

Statistics = Sequence[tuple[Tensor, Tensor]]  # means and variances (C,) of each batch norm


@torch.no_grad()
def teacher_answer(
    model: Network,
    images: Tensor,
    path: Tensor | None,
    dtype: torch.dtype | None,
    statistics: Statistics | None = None,
) -> Any:
    """Return the network's predictions for images (T, H, W, 3) with all experts, without gradient.

    The network is in evaluation mode: batch norms neither compute statistics, which would be noise for a few
    images, nor update them; and routers have no noise and no dropout. So the answer for an image depends
    neither on the other images that are taught nor on random numbers.

    Args:
        path: weights of the paths (T, P) that the student took, in a network with paths.
        dtype: dtype of the computation, as in the student's pass; None for float32. Call this function
            outside the student's autocast: autocast caches converted weights, and those that are converted
            here have no gradient.
        statistics: what batch norms use, as batch_statistics returns it; None: their running statistics.
    """
    controls = model.default_controls()._replace(top_k=model.config.allowed_top_k[-1], path=path)
    precision = torch.autocast(images.device.type, dtype, enabled=dtype is not None)
    with evaluating(model), _using(model, statistics), precision:
        return model(images, controls)


def running_statistics(model: nn.Module) -> Statistics:
    """Return a copy of the running statistics of all batch norms."""
    return [(mean.clone(), variance.clone()) for _, mean, variance in _norms(model)]


@torch.no_grad()
def batch_statistics(model: nn.Module, before: Statistics) -> Statistics:
    """Return the statistics of the batch that the model has just seen, from running statistics before it.

    A teacher uses the statistics with which the student's pass was normalised. While weights change quickly,
    running statistics belong to much older weights: in the third epoch of a run, a teacher that used them
    found objects in a large part of all cells. For a frozen norm, the result is its running statistics.
    """
    found = []
    for (norm, *now), old in zip(_norms(model), before, strict=True):
        share = norm.momentum if norm.training and norm.momentum else 1.0
        mean, variance = (new.lerp(past, 1 - 1 / share) for new, past in zip(now, old, strict=True))
        found.append((mean, variance.clamp(min=0)))
    return found


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


@contextmanager
def _using(model: nn.Module, statistics: Statistics | None) -> Iterator[None]:
    """Replace the running statistics of batch norms inside the `with` block.

    The tensors are exchanged, not overwritten, because a backward pass may still need their values.
    """
    norms = _norms(model)
    for (norm, *_), (mean, variance) in zip(norms, statistics or (each[1:] for each in norms), strict=True):
        norm.running_mean, norm.running_var = mean, variance
    try:
        yield
    finally:
        for norm, mean, variance in norms:
            norm.running_mean, norm.running_var = mean, variance


def _norms(model: nn.Module) -> list[tuple[_BatchNorm, Tensor, Tensor]]:
    """Return the batch norms of a model, each with its running mean and variance."""
    return [
        (module, module.running_mean, module.running_var)
        for module in model.modules()
        if isinstance(module, _BatchNorm)
        and module.running_mean is not None
        and module.running_var is not None
    ]
