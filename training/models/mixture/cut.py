"""A mixture layer with fewer experts: those that stay, and a router that scores no others."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.models.mixture.layer import MixtureLayer
from training.models.mixture.router import SpatialRouter


def cut_experts(layer: MixtureLayer, kept: Sequence[int]) -> None:
    """Leave a layer only these of its experts, in this order; its configuration is the caller's to change.

    Softmax over those that are kept is what remains of softmax over all after renormalising, so routers lose
    the rows of the others and nothing else.
    """
    rows = list(kept)
    layer.experts = nn.ModuleList(layer.experts[row] for row in rows)
    router = layer.router
    score = router.score
    assert isinstance(score, nn.Linear | nn.Conv2d)  # every router ends in one
    score.weight = _rows_of(score.weight, rows)
    if score.bias is not None:
        score.bias = _rows_of(score.bias, rows)
    if isinstance(score, nn.Conv2d):
        score.out_channels = len(rows)
    else:
        score.out_features = len(rows)
    if isinstance(router, SpatialRouter):  # whose scores are normed expert by expert
        norm = router.norm
        norm.num_features = len(rows)
        norm.weight, norm.bias = _rows_of(norm.weight, rows), _rows_of(norm.bias, rows)
        for name in ("running_mean", "running_var"):
            setattr(norm, name, getattr(norm, name)[rows].clone())


def _rows_of(values: Tensor, rows: list[int]) -> nn.Parameter:
    with torch.no_grad():
        return nn.Parameter(values[rows].clone())
