"""Decides which experts run for each image, and with which weights."""

from typing import NamedTuple

import torch
from torch import Tensor

# B batch · E experts


class Routing(NamedTuple):
    """The experts that one mixture layer runs for each image of a batch, and their weights."""

    gate: Tensor  # (B, E) weight of each expert, zero if not chosen; rows sum to 1, or to 0 at top_k 0
    probs: Tensor  # (B, E) softmax of the logits over all experts
    logits: Tensor  # (B, E) scores of the router


class RoutingControls(NamedTuple):
    """Settings of how many experts may run.

    Each field is a number, or a tensor (B, 1) with a value for each image.
    """

    top_k: int | Tensor
    weight_threshold: float | Tensor = 0.0
    # Only for networks with paths:
    path: Tensor | None = None  # (B, P) weight of each path; None: the network's router chooses
    softness: float = 0.0  # in training; see choose_path

    @property
    def settings(self) -> dict[str, int | float | Tensor]:
        """Return the controls that a request can set, by name; only the network itself uses the others."""
        return {"top_k": self.top_k, "weight_threshold": self.weight_threshold}


def choose_experts(logits: Tensor, controls: RoutingControls, epsilon: float = 0.0) -> Routing:
    """Return which experts run, and their weights.

    A weight is the softmax probability of the expert, divided by the sum over the experts that run.

    At top_k 0, no expert is chosen; in a layer with a shared expert, only the shared expert runs. At a higher
    top_k, the best expert always runs. Each other expert among the best top_k runs only if its probability
    reaches the threshold. In a tie, the expert with the lower index ranks higher.

    Ranks are computed by comparisons instead of a sort, so that an exported graph needs no TopK operator and
    top_k stays a run-time input.

    Args:
        logits: scores of the router (B, E); converted to float32.
        epsilon: added to the divisor of the weights; 0 for a model that was trained without an epsilon.

    Source: arXiv:2512.23273, eq. 6 to 9; here, training and inference use the same formula.
    """
    logits = logits.float()
    probs = logits.softmax(dim=-1)  # (B, E)
    mine, other = probs[:, :, None], probs[:, None, :]  # (B, E, 1), (B, 1, E)
    index = torch.arange(probs.shape[-1], device=probs.device)
    other_is_first = index[None, :] < index[:, None]  # (E, E)
    better = (other > mine) | ((other == mine) & other_is_first)
    rank = better.sum(dim=-1)  # (B, E) 0 is best
    chosen = (rank < controls.top_k) & ((rank == 0) | (probs >= controls.weight_threshold))
    kept = probs * chosen
    # The best of E probabilities is at least 1 / E, so this minimum matters only if no expert was chosen.
    total = kept.sum(dim=-1, keepdim=True).clamp(min=0.5 / probs.shape[-1])
    return Routing(gate=kept / (total + epsilon if epsilon else total), probs=probs, logits=logits)
