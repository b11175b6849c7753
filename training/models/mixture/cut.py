"""Removes experts from a mixture layer and its router."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.models.mixture.layer import MixtureLayer
from training.models.mixture.router import SpatialRouter


def cut_experts(layer: MixtureLayer, kept: Sequence[int]) -> None:
    """Reduce a layer, in place, to the experts at the indices `kept`, in this order.

    The caller has to update the layer's configuration. Routers only lose the rows of the removed experts: the
    softmax over the kept experts equals the softmax over all experts, renormalised.
    """
    rows = list(kept)
    layer.experts = nn.ModuleList(layer.experts[row] for row in rows)
    router = layer.router
    score = router.score
    assert isinstance(score, nn.Linear | nn.Conv2d)  # the last layer of every router
    score.weight = _rows_of(score.weight, rows)
    if score.bias is not None:
        score.bias = _rows_of(score.bias, rows)
    if isinstance(score, nn.Conv2d):
        score.out_channels = len(rows)
    else:
        score.out_features = len(rows)
    if isinstance(router, SpatialRouter):  # it normalises each expert's scores separately
        norm = router.norm
        norm.num_features = len(rows)
        norm.weight, norm.bias = _rows_of(norm.weight, rows), _rows_of(norm.bias, rows)
        for name in ("running_mean", "running_var"):
            setattr(norm, name, getattr(norm, name)[rows].clone())


def _rows_of(values: Tensor, rows: list[int]) -> nn.Parameter:
    with torch.no_grad():
        return nn.Parameter(values[rows].clone())
