"""Runs the chosen experts as one wide expert, whose weights are gathered at run time.

The weighted sum of n experts, each two convolutions of the same shape, equals two convolutions with n times
the hidden channels: the second convolution sums over experts as it sums over channels. Only weights are
copied, not the feature map. If the map is larger than the weights, this costs about as much as the chosen
experts alone. It is meant for exported graphs: batch norm must be folded.
"""

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.models.mixture.experts import DepthwiseSeparableExpert, SimpleExpert

# Engines reorder a kernel that is scaled at run time; per weight, that costs as much as so many map values.
SCALED_WEIGHTS = 4

# B batch · E experts · n slots · C channels · D hidden channels · k kernel · H, W feature-map size


def can_gather(experts: nn.ModuleList) -> bool:
    """Return whether all experts are depthwise, or all simple and of one shape, with folded batch norm."""
    kinds = {type(expert) for expert in experts}
    norms = {type(module.bn) for module in experts.modules() if hasattr(module, "bn")}
    shapes = {expert.expand.conv.weight.shape for expert in experts if isinstance(expert, SimpleExpert)}
    of_a_kind = kinds == {DepthwiseSeparableExpert} or (kinds == {SimpleExpert} and len(shapes) == 1)
    return of_a_kind and norms == {nn.Identity}


def run_gathered(experts: nn.ModuleList, x: Tensor, gate: Tensor, slots: int) -> Tensor:
    """Return the weighted sum of the `slots` experts with the largest weights of each image.

    Only these experts are computed. The images of the batch become groups of channels, so that each image has
    its own weights.

    Args:
        x: (B, C, H, W).
        gate: (B, E); an image may have fewer than `slots` above zero.
        slots: at least the number of experts above zero of any image; otherwise experts are left out.

    Returns:
        (B, C, H, W).

    Raises:
        ValueError: the experts are of a kind that cannot be gathered, or of different shapes.
    """
    if not can_gather(experts):
        raise ValueError("only depthwise and simple experts with batch norm folded can be gathered")
    weight, index = gate.topk(slots, dim=1)  # (B, n)
    # An empty slot takes the image's best expert with weight zero, so that no unchosen expert is read.
    index = torch.where(weight > 0, index, index[:, :1])
    if isinstance(experts[0], SimpleExpert):
        return _wide_expert(experts, x, weight.to(x.dtype), index)
    weighted = (
        weight[:, slot, None, None, None].to(x.dtype) * _light_expert(experts, x, index[:, slot])
        for slot in range(slots)
    )
    return reduce(torch.add, weighted)


def run_all_as_one(experts: nn.ModuleList, x: Tensor, gate: Tensor) -> Tensor:
    """Return the weighted sum of all simple experts for one image, computed as one wide expert.

    Its weights are constants of the graph. x is (1, C, H, W), gate (1, E), and the result (1, C, H, W).
    """
    first, second = _convolutions(experts)
    hidden = first[0].out_channels
    expand, expand_bias = torch.cat([conv.weight for conv in first]), torch.cat([*map(_bias, first)])
    maps = functional.silu(_convolve(x, expand, expand_bias))  # (1, E·D, H, W)
    project = torch.cat([conv.weight for conv in second], dim=1)  # (C, E·D, k, k)
    scale = gate.to(x.dtype).repeat_interleave(hidden, dim=1)[0]  # (E·D)
    if sum(conv.weight.numel() for conv in second) * SCALED_WEIGHTS <= x.numel():
        project = project * scale[:, None, None]
    else:
        maps = maps * scale[:, None, None]
    bias = (gate.to(x.dtype)[0, :, None] * torch.stack([*map(_bias, second)])).sum(dim=0)  # (C)
    return _convolve(maps, project) + bias[:, None, None]


def weights_are_small(experts: nn.ModuleList, x: Tensor) -> bool:
    """Return whether an expert has at most as many weights as its map has values: copying is cheap."""
    return sum(parameter.numel() for parameter in experts[0].parameters()) <= x[0].numel()


def _wide_expert(experts: nn.ModuleList, x: Tensor, weight: Tensor, index: Tensor) -> Tensor:
    first, second = _convolutions(experts)
    batch, channels, height, width = x.shape
    slots, (hidden, _, kernel, _) = index.shape[1], first[0].weight.shape
    flat = index.reshape(-1)  # (B·n)
    expand = torch.stack([conv.weight for conv in first]).index_select(0, flat)  # (B·n, D, C, k, k)
    expand_bias = torch.stack([*map(_bias, first)]).index_select(0, flat).reshape(-1)
    folded = x.reshape(1, batch * channels, height, width)
    expand = expand.reshape(-1, channels, kernel, kernel)
    maps = functional.silu(_convolve(folded, expand, expand_bias, groups=batch))  # (1, B·n·D, H, W)
    # Scales the map, in the same pass as the activation before; scaling weights would take another pass.
    maps = maps * weight.repeat_interleave(hidden, dim=1).reshape(1, -1, 1, 1)

    # Experts are stacked after the output channel, as input channels of the wide kernel: (C, E, D, k, k).
    project = torch.stack([conv.weight for conv in second], dim=1).index_select(1, flat)
    project = project.reshape(channels, batch, slots * hidden, kernel, kernel).transpose(0, 1)
    project_bias = torch.stack([*map(_bias, second)]).index_select(0, flat).reshape(batch, slots, channels)
    bias = (weight[:, :, None] * project_bias).sum(dim=1)  # (B, C)
    project = project.reshape(batch * channels, slots * hidden, kernel, kernel)
    total = _convolve(maps, project, groups=batch).reshape(batch, channels, height, width)
    return total + bias[:, :, None, None]


def _convolutions(experts: nn.ModuleList) -> tuple[list[nn.Conv2d], list[nn.Conv2d]]:
    simple = [expert for expert in experts if isinstance(expert, SimpleExpert)]
    return [expert.expand.conv for expert in simple], [expert.project.conv for expert in simple]


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None, groups: int = 1) -> Tensor:
    return functional.conv2d(x, weight, bias, padding=weight.shape[-1] // 2, groups=groups)


def _light_expert(experts: nn.ModuleList, x: Tensor, index: Tensor) -> Tensor:
    """Return the output of one expert per image; kernels are zero-padded to the largest."""
    batch, channels, height, width = x.shape
    light = [expert for expert in experts if isinstance(expert, DepthwiseSeparableExpert)]
    filters = torch.stack(_padded([expert.depthwise.weight for expert in light]))  # (E, C, 1, k, k)
    mixes = torch.stack([expert.conv.weight for expert in light])  # (E, C, C, 1, 1)
    biases = torch.stack([_bias(expert.conv) for expert in light])  # (E, C)
    kernel = filters.shape[-1]
    folded = functional.conv2d(
        x.reshape(1, batch * channels, height, width),
        filters.index_select(0, index).reshape(batch * channels, 1, kernel, kernel),
        padding=kernel // 2,
        groups=batch * channels,
    )
    mixed = functional.conv2d(
        folded,
        mixes.index_select(0, index).reshape(batch * channels, channels, 1, 1),
        biases.index_select(0, index).reshape(-1),
        groups=batch,
    )
    return functional.silu(mixed).reshape(batch, channels, height, width)


def _padded(weights: Sequence[Tensor]) -> list[Tensor]:
    widest = max(weight.shape[-1] for weight in weights)
    margins = [(widest - weight.shape[-1]) // 2 for weight in weights]
    return [functional.pad(w, (m, m, m, m)) for w, m in zip(weights, margins, strict=True)]


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None  # folding batch norm adds a bias
    return conv.bias
