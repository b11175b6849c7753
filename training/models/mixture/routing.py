"""Which experts run for which image, and with what weight."""

from typing import NamedTuple

import torch
from torch import Tensor

# B batch · E experts


class Routing(NamedTuple):
    """What one mixture layer decided for one batch."""

    gate: Tensor  # (B, E)  weight of each expert; zero if not chosen; rows sum to 1, or to 0 at top_k 0
    probs: Tensor  # (B, E)  softmax of the router over all experts
    logits: Tensor  # (B, E)  what the softmax was taken of


class RoutingControls(NamedTuple):
    """How many experts may run: integers and floats, or (B, 1) tensors so that each image has its own."""

    top_k: int | Tensor
    weight_threshold: float | Tensor = 0.0


def choose_experts(logits: Tensor, controls: RoutingControls, epsilon: float = 0.0) -> Routing:
    """Take a softmax over all, keep the best top_k, renormalise over those that run.

    From top_k 1 on the best expert always runs; the others only if their probability reaches the threshold.
    At 0 none runs: for layers with a shared expert. Ties go to the lowest index. Ranks come from
    comparisons, not from a sort, so the exported graph needs no TopK and top_k stays a run-time input.

    Args:
        logits: (B, E) router scores; taken in float32 whatever the precision around them.
        epsilon: beside the sum that weights are divided by, for models that were trained with it.

    Source: arXiv:2512.23273, eq. 6 to 9; its training and inference forms are one and the same here.
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
    # The best of E has at least 1 / E: the floor is met only where none was chosen.
    total = kept.sum(dim=-1, keepdim=True).clamp(min=0.5 / probs.shape[-1])
    return Routing(gate=kept / (total + epsilon if epsilon else total), probs=probs, logits=logits)
