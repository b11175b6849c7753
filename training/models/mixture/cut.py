"""Removes experts from a mixture layer and its router."""

from collections.abc import Sequence

import torch
from torch import nn

from training.models.mixture.layer import MixtureLayer
from training.models.mixture.router import SpatialRouter


def cut_experts(layer: MixtureLayer, kept: Sequence[int]) -> None:
    """Reduce a layer, in place, to the experts at the indices `kept`, in this order.

    The caller has to update the layer's configuration. The router loses the rows of the removed experts. The
    new probability of a kept expert is its old probability, divided by the sum of the old probabilities of
    all kept experts.
    """
    rows = list(kept)
    layer.experts = nn.ModuleList(layer.experts[row] for row in rows)
    score = layer.router.score
    assert isinstance(score, nn.Linear | nn.Conv2d)  # the last layer of every router
    setattr(score, "out_channels" if isinstance(score, nn.Conv2d) else "out_features", len(rows))
    _keep_rows(score, rows)
    if isinstance(layer.router, SpatialRouter):  # its last norm has one channel per expert
        layer.router.norm.num_features = len(rows)
        _keep_rows(layer.router.norm, rows)


@torch.no_grad()
def _keep_rows(module: nn.Module, rows: list[int]) -> None:
    """Keep only `rows` of every parameter and statistic of a module, in place."""
    for name, parameter in list(module.named_parameters()):
        setattr(module, name, nn.Parameter(parameter[rows].clone()))
    for name, buffer in list(module.named_buffers()):
        if buffer.ndim:  # a batch norm's count of batches has no rows
            setattr(module, name, buffer[rows].clone())
