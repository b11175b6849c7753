"""Runs the chosen experts as one wide expert, whose weights are gathered at run time.

Suppose that n experts have the same shape, and each consists of two convolutions. Then their weighted sum
equals two convolutions with n times the hidden channels, because the second convolution sums over the hidden
channels of all experts. Only weights are copied, not the feature map. If the map is larger than the weights,
the wide expert costs about as much as the chosen experts alone. These functions are for exported graphs,
where batch norm is folded into the convolutions.
"""

from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.models.mixture.experts import DepthwiseSeparableExpert, SimpleExpert

# Engines reorder a kernel that is scaled at run time. For each weight, this costs as much as 4 map values.
SCALED_WEIGHTS = 4

# B batch · E experts · n slots · C channels · D hidden channels · k kernel · H, W feature-map size


def can_gather(experts: nn.ModuleList) -> bool:
    """Return whether run_gathered can compute these experts.

    It can if every expert is a DepthwiseSeparableExpert, or if every expert is a SimpleExpert and all have
    the same shape. In both cases, the batch norms must have been folded into the convolutions.
    """
    kinds = {type(expert) for expert in experts}
    norms = {type(module.bn) for module in experts.modules() if hasattr(module, "bn")}
    shapes = {expert.expand.conv.weight.shape for expert in experts if isinstance(expert, SimpleExpert)}
    of_a_kind = kinds == {DepthwiseSeparableExpert} or (kinds == {SimpleExpert} and len(shapes) == 1)
    return of_a_kind and norms == {nn.Identity}


def run_gathered(experts: nn.ModuleList, x: Tensor, gate: Tensor, slots: int) -> Tensor:
    """Return, for each image, the weighted sum of the `slots` experts that have the largest weights.

    No other experts are computed. Each image of the batch becomes a group of channels of a grouped
    convolution, so that each image has its own weights.

    Args:
        x: feature maps (B, C, H, W); the result has the same shape.
        gate: (B, E); if an image has more than `slots` weights above zero, the smallest ones are ignored.

    Raises:
        ValueError: the experts are of a kind that cannot be gathered, or they have different shapes.
    """
    if not can_gather(experts):
        raise ValueError("only depthwise and simple experts with batch norm folded can be gathered")
    weight, index = gate.topk(slots, dim=1)  # (B, n)
    # An unused slot gets the image's best expert with weight zero, so that no further expert is read.
    index = torch.where(weight > 0, index, index[:, :1])
    if isinstance(experts[0], SimpleExpert):
        return run_wide(experts, x, weight, index)
    weighted = (
        weight[:, slot, None, None, None].to(x.dtype) * _light_expert(experts, x, index[:, slot])
        for slot in range(slots)
    )
    return reduce(torch.add, weighted)


def weights_are_small(experts: nn.ModuleList, x: Tensor) -> bool:
    """Return whether an expert has no more weights than the map has values, so that copying it is cheap."""
    return sum(parameter.numel() for parameter in experts[0].parameters()) <= x[0].numel()


def run_wide(experts: nn.ModuleList, x: Tensor, weight: Tensor, index: Tensor | None = None) -> Tensor:
    """Return the weighted sum of simple experts, computed as one wide expert for each image.

    Args:
        x: feature maps (B, C, H, W); the result has the same shape.
        weight: weights of the experts, (B, n).
        index: the experts of each image, (B, n). With None, all experts run, x must hold a single image,
            and an exported graph holds the convolutions' weights as constants.
    """
    simple = [expert for expert in experts if isinstance(expert, SimpleExpert)]
    first, second = [each.expand.conv for each in simple], [each.project.conv for each in simple]
    (batch, channels, height, width), kernel = x.shape, first[0].kernel_size
    weight = weight.to(x.dtype)
    expand, expand_bias = torch.stack([conv.weight for conv in first]), torch.stack([*map(_bias, first)])
    # The experts follow the output channel, as input channels of the wide kernel: (C, E, D, k, k).
    project = torch.stack([conv.weight for conv in second], dim=1)
    project_bias = torch.stack([*map(_bias, second)])
    if index is not None:
        flat = index.reshape(-1)  # (B·n)
        expand, expand_bias = expand.index_select(0, flat), expand_bias.index_select(0, flat)
        project, project_bias = project.index_select(1, flat), project_bias.index_select(0, flat)
    expand = expand.reshape(-1, channels, *kernel)  # (B·n·D, C, k, k)
    project = project.reshape(channels, batch, -1, *kernel).transpose(0, 1)
    project = project.reshape(batch * channels, -1, *kernel)  # (B·C, n·D, k, k)

    folded = x.reshape(1, batch * channels, height, width)
    maps = functional.silu(_convolve(folded, expand, expand_bias.reshape(-1), batch))  # (1, B·n·D, H, W)
    scale = weight.repeat_interleave(first[0].out_channels, dim=1)  # (B, n·D)
    if index is None and project.numel() * SCALED_WEIGHTS <= x.numel():
        project = project * scale[0, :, None, None]
    else:  # engines do this in the same pass as the activation
        maps = maps * scale.reshape(1, -1, 1, 1)
    bias = (weight[:, :, None] * project_bias.reshape(batch, -1, channels)).sum(dim=1)  # (B, C)
    total = _convolve(maps, project, None, batch).reshape(batch, channels, height, width)
    return total + bias[:, :, None, None]


def _light_expert(experts: nn.ModuleList, x: Tensor, index: Tensor) -> Tensor:
    """Return the output of one depthwise expert per image; kernels are zero-padded to one size."""
    batch, channels, height, width = x.shape
    light = [expert for expert in experts if isinstance(expert, DepthwiseSeparableExpert)]
    kernel = max(expert.depthwise.weight.shape[-1] for expert in light)
    filters = [expert.depthwise.weight for expert in light]
    filters = [functional.pad(each, ((kernel - each.shape[-1]) // 2,) * 4) for each in filters]
    mixes = torch.stack([expert.conv.weight for expert in light])  # (E, C, C, 1, 1)
    biases = torch.stack([_bias(expert.conv) for expert in light])  # (E, C)
    filtered = _convolve(
        x.reshape(1, batch * channels, height, width),
        torch.stack(filters).index_select(0, index).reshape(batch * channels, 1, kernel, kernel),
        None,
        batch * channels,
    )
    mixed = _convolve(
        filtered,
        mixes.index_select(0, index).reshape(batch * channels, channels, 1, 1),
        biases.index_select(0, index).reshape(-1),
        batch,
    )
    return functional.silu(mixed).reshape(batch, channels, height, width)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
    return functional.conv2d(x, weight, bias, padding=weight.shape[-1] // 2, groups=groups)


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None  # folding batch norm adds a bias
    return conv.bias
