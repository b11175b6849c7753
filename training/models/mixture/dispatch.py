"""Ways to add up the chosen experts. All give the same sum; they differ in what they compute.

dense        every expert on every image, weighted; an expert that was not chosen weighs zero
grouped      each expert on the images that chose it
Conditional  one image; experts in branches of the graph that run or not: what is exported for CPUs
Gathered     a fixed batch; the weights of each image's experts, picked at run time: for GPUs (gathered.py)

In evaluation they all agree to rounding. In training they do not, because of batch norm inside experts:
under dense it sees the whole batch, under grouped only the images that chose the expert. Training runs
dense: at the batch sizes of detectors (8 to 16 images, half of them chosen) a group is too small for
statistics, an expert nobody chose would keep the statistics it was born with, and one chosen by a single
image would normalise that image by itself. The cost is the work of the experts that were not chosen: in
esmoe-n, two of four in each layer, at least 1.2 of 9.5 GFLOPs.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor, nn
from torch.func import functional_call

from training.models.mixture.experts import SimpleExpert
from training.models.mixture.gathered import (
    can_gather,
    run_all_as_one,
    run_gathered,
    weights_are_small,
)

# B batch · E experts · C channels · H, W feature-map size


def run_dense(experts: Iterable[nn.Module], x: Tensor, gate: Tensor) -> Tensor:
    """Return the weighted sum over all experts; x (B, C, H, W), gate (B, E), result (B, c_out, H, W)."""
    weights = gate.to(x.dtype)[:, :, None, None, None]  # (B, E, 1, 1, 1)
    # Summed from the first answer on: zeros of x's batch would be one more operator in a static graph.
    return reduce(torch.add, (weights[:, index] * expert(x) for index, expert in enumerate(experts)))


def run_grouped(experts: Iterable[nn.Module], x: Tensor, gate: Tensor, c_out: int) -> Tensor:
    """Return the weighted sum; each expert sees only images whose gate for it is above zero, in one go."""
    weights = gate.to(x.dtype)
    total = x.new_zeros(len(x), c_out, *x.shape[2:])
    for index, expert in enumerate(experts):
        image_ids = (gate[:, index] > 0).nonzero().flatten()
        if len(image_ids):
            answer = weights[image_ids, index, None, None, None] * expert(x[image_ids])
            total = total.index_add(0, image_ids, answer.to(total.dtype))
    return total


@dataclass(frozen=True)
class Conditional:
    """How an exported graph for one image skips experts: by a branch for each.

    A branch that is taken copies the map in and out. In a graph for one top_k there is no need: where the map
    is large beside the weights, those of the chosen experts are copied instead (gathered.py).
    """

    exactly: int | None = None  # the only top_k, without a threshold, that the graph shall be right for
    ports: torch.dtype = torch.float32  # of maps that cross a branch; bfloat16 where engines compute in it


@dataclass(frozen=True)
class Gathered:
    """How an exported graph for a fixed batch computes no more than this many experts for each image."""

    slots: int


def run_conditional(experts: nn.ModuleList, x: Tensor, gate: Tensor, c_out: int, how: Conditional) -> Tensor:
    """Return the weighted sum for one image; becomes `If`s in an exported graph.

    Maps cross a branch as (B, H, W, C): CPU engines convolve channels-last but copy branch ports in plain
    order, and a reordering at each port costs what the skipping gains.

    Raises:
        ValueError: B is not 1; the branch would be taken for all images by the first one's gate.
    """
    if x.shape[0] != 1:
        raise ValueError(f"conditional experts take one image, got {x.shape[0]}")
    wide = can_gather(experts) and isinstance(experts[0], SimpleExpert)
    if how.exactly is not None and how.exactly >= len(experts):
        return run_all_as_one(experts, x, gate) if wide else run_dense(experts, x, gate)
    # Not light experts: their kernels differ, and each would be computed as the widest.
    if how.exactly and wide and weights_are_small(experts, x):
        return run_gathered(experts, x, gate, how.exactly)
    maps = x.permute(0, 2, 3, 1).to(how.ports)  # (1, H, W, C)
    weights = gate[0].to(x.dtype)
    # Weighted outside, where the sum passes over all of them anyway.
    answers = (
        weights[index] * _run_or_skip(expert, maps, weights[index] > 0, x.dtype, c_out)
        for index, expert in enumerate(experts)
    )
    return reduce(torch.add, answers).permute(0, 3, 1, 2)


def _run_or_skip(expert: nn.Module, maps: Tensor, runs: Tensor, dtype: torch.dtype, c_out: int) -> Tensor:
    """Return the expert's answer (1, H, W, c_out), or zeros."""
    names, weights = zip(*expert.state_dict(keep_vars=True).items(), strict=True)

    def run(maps: Tensor, *weights: Tensor) -> tuple[Tensor]:
        x = maps.permute(0, 3, 1, 2).to(dtype)
        answer = functional_call(expert, dict(zip(names, weights, strict=True)), (x,)).permute(0, 2, 3, 1)
        return (answer.to(maps.dtype).contiguous(),)

    def skip(maps: Tensor, *_: Tensor) -> tuple[Tensor]:
        return (maps.new_zeros(*maps.shape[:3], c_out),)

    # The operator itself, with all that its branches read: torch.cond would compile both to find that out,
    # which took a fourth of an export.
    choose = torch.ops.higher_order.cond if torch.compiler.is_exporting() else _choose
    (answer,) = choose(runs, run, skip, (maps, *weights))
    return answer.to(dtype)


def _choose(
    condition: Tensor,
    run: Callable[..., tuple[Tensor]],
    skip: Callable[..., tuple[Tensor]],
    operands: tuple[Tensor, ...],
) -> tuple[Tensor]:
    return (run if condition else skip)(*operands)
