"""Ways to compute the weighted sum of the experts that the router chose for each image.

- dense: every expert runs on every image; an expert that was not chosen has the weight zero.
- grouped: each expert runs only on the images for which it was chosen.
- conditional: each expert is in a branch of the graph, which runs only if the expert is chosen; for a single
  image on CPUs.
- gathered: the weights of each image's experts are gathered at run time; for a batch of fixed size on GPUs.

In evaluation, all ways give the same sum, up to rounding. In training, dense and grouped differ if experts
contain batch norm. With dense, the statistics of a batch norm cover the whole batch. With grouped, they cover
only the images for which the expert was chosen. If a step has 8 to 16 images, these images are too few, and
an expert that is never chosen would keep its initial statistics. So training is dense, although it also
computes the experts that were not chosen. In esmoe-n, these take at least 1.2 of 9.5 GFLOPs.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor, nn
from torch.func import functional_call

from training.models.mixture.experts import SimpleExpert
from training.models.mixture.gathered import can_gather, run_gathered, run_wide, weights_are_small

# B batch · E experts · C channels · H, W feature-map size


def run_dense(experts: Iterable[nn.Module], x: Tensor, gate: Tensor) -> Tensor:
    """Return the sum (B, c_out, H, W) of all experts' outputs for x (B, C, H, W), weighted by gate (B, E)."""
    weights = gate.to(x.dtype)[:, :, None, None, None]  # (B, E, 1, 1, 1)
    # Starts with the first output: starting with zeros would add an operator to an exported graph.
    return reduce(torch.add, (weights[:, index] * expert(x) for index, expert in enumerate(experts)))


def run_grouped(experts: Iterable[nn.Module], x: Tensor, gate: Tensor, c_out: int) -> Tensor:
    """Return the sum of the experts' outputs, weighted by gate.

    Each expert runs only on the images for which its gate is above 0.
    """
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
    """Settings of an exported graph for one image, in which experts that were not chosen are skipped.

    Each expert is in a branch of the graph. A branch that runs copies the feature map in and out. A graph for
    one fixed top_k instead copies the weights of the chosen experts if three conditions hold: all experts are
    of the class SimpleExpert, can_gather accepts the experts, and an expert has no more weights than the
    feature map has values.
    """

    exactly: int | None = None  # the only top_k, without a threshold, that the graph supports; None: any
    ports: torch.dtype = torch.float32  # type of the maps that enter and leave a branch


@dataclass(frozen=True)
class Gathered:
    """Settings of an exported graph for a fixed batch, which computes at most `slots` experts per image."""

    slots: int


def run_conditional(experts: nn.ModuleList, x: Tensor, gate: Tensor, c_out: int, how: Conditional) -> Tensor:
    """Return the experts' weighted sum for one image; branches become `If` operators in an exported graph.

    Maps enter and leave branches as (B, H, W, C). CPU engines compute convolutions in the layout
    channels-last. But at the border of a branch, they copy each map in the layout that the graph states. With
    (B, C, H, W), they would have to reorder each map there. This would take as much time as skipping experts
    saves.

    Raise ValueError if B is not 1, because the first image's gate would decide for all images.
    """
    if x.shape[0] != 1:
        raise ValueError(f"conditional experts take one image, got {x.shape[0]}")
    wide = can_gather(experts) and isinstance(experts[0], SimpleExpert)
    if how.exactly is not None and how.exactly >= len(experts):
        return run_wide(experts, x, gate) if wide else run_dense(experts, x, gate)
    # Not for depthwise experts, because all their kernels would be padded to the largest size.
    if how.exactly and wide and weights_are_small(experts, x):
        return run_gathered(experts, x, gate, how.exactly)
    maps = x.permute(0, 2, 3, 1).to(how.ports)  # (1, H, W, C)
    weights = gate[0].to(x.dtype)
    # The weights are applied outside the branches, where the sum reads all outputs anyway.
    answers = (
        weights[index] * _run_or_skip(expert, maps, weights[index] > 0, x.dtype, c_out)
        for index, expert in enumerate(experts)
    )
    return reduce(torch.add, answers).permute(0, 3, 1, 2)


def _run_or_skip(expert: nn.Module, maps: Tensor, runs: Tensor, dtype: torch.dtype, c_out: int) -> Tensor:
    """Return the expert's output (1, H, W, c_out), or zeros if `runs` is false."""
    names, weights = zip(*expert.state_dict(keep_vars=True).items(), strict=True)

    def run(maps: Tensor, *weights: Tensor) -> tuple[Tensor]:
        x = maps.permute(0, 3, 1, 2).to(dtype)
        answer = functional_call(expert, dict(zip(names, weights, strict=True)), (x,)).permute(0, 2, 3, 1)
        return (answer.to(maps.dtype).contiguous(),)

    def skip(maps: Tensor, *_: Tensor) -> tuple[Tensor]:
        return (maps.new_zeros(*maps.shape[:3], c_out),)

    # The operator is called directly, with every tensor that its branches read. torch.cond would compile both
    # branches to find these tensors, which took a quarter of the time of an export.
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
