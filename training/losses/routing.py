"""What the routers are asked for."""

import torch
from torch import Tensor

from training.models.mixture.routing import Routing


def balance_loss(routing: Routing) -> Tensor:
    """Squared distance of each expert's mean weight from an equal share, averaged over experts.

    Unitless: 0 when the batch shares its weight equally; (1 / E) (1 - 1 / E) when one expert takes all.
    It acts on weights after top-K, so an expert that no image chose gets no gradient from it.

    Source: arXiv:2512.23273, eq. 12 and 13.
    """
    mean_weight = routing.gate.mean(dim=0)  # (E,)
    return (mean_weight - 1 / mean_weight.shape[0]).square().mean()


def total_balance_loss(routings: dict[str, Routing], like: Tensor) -> Tensor:
    """Sum over layers; zero, on the device of `like`, where there is no mixture."""
    losses = [balance_loss(routing) for routing in routings.values()]
    return torch.stack(losses).sum() if losses else like.new_zeros(())
