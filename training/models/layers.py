"""Convolution blocks, from which all stages are built."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from training.models.depthwise import DepthwiseConv2d

# B batch · C channels · H, W feature-map size

BN_EPS = 1e-3  # both constants as in published YOLO checkpoints
BN_MOMENTUM = 0.03

Norm = Literal["batch", "group"]


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """Return a batch norm with the epsilon and the momentum that all our networks use."""
    return nn.BatchNorm2d(channels, eps=BN_EPS, momentum=BN_MOMENTUM)


def group_norm(channels: int) -> nn.GroupNorm:
    """Return a group norm whose number of groups is the largest of 8, 4, 2 and 1 that divides `channels`."""
    return nn.GroupNorm(math.gcd(channels, 8), channels)


def norm_layer(channels: int, norm: Norm) -> nn.Module:
    """Return a batch norm or a group norm, as `norm` says."""
    return batch_norm(channels) if norm == "batch" else group_norm(channels)


class ConvBlock(nn.Module):
    """A convolution without bias, then a norm and an activation; stride 1 keeps H and W."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: int = 1,
        stride: int = 1,
        *,
        depthwise: bool = False,
        act: bool = True,
        norm: Norm = "batch",
    ) -> None:
        super().__init__()
        if depthwise:
            self.conv: nn.Conv2d = DepthwiseConv2d(c_in, kernel, stride)
        else:
            self.conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False)
        self.bn = norm_layer(c_out, norm)
        self.act = nn.SiLU(inplace=True) if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, c_in, H, W) to (B, c_out, H / stride, W / stride)."""
        return self.act(self.bn(self.conv(x)))


def halve(c_in: int, c_out: int, *, light: bool) -> nn.Module:
    """Return a convolution that halves H and W; it is depthwise-separable if `light` is true."""
    if not light:
        return ConvBlock(c_in, c_out, 3, 2)
    return nn.Sequential(ConvBlock(c_in, c_in, 3, 2, depthwise=True, act=False), ConvBlock(c_in, c_out))


class Bottleneck(nn.Module):
    """Two 3×3 convolutions with a residual path."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.reduce = ConvBlock(channels, hidden, 3)
        self.expand = ConvBlock(hidden, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        return x + self.expand(self.reduce(x))


class CrossStage(nn.Module):
    """A stage that runs two bottlenecks on one projection of the input, and merges a second projection.

    Both projections have C / 2 channels. Source: Wang et al. 2019, arXiv:1911.11929.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels // 2
        self.enter = ConvBlock(channels, hidden)
        self.bypass = ConvBlock(channels, hidden)
        self.blocks = nn.Sequential(Bottleneck(hidden, hidden), Bottleneck(hidden, hidden))
        self.merge = ConvBlock(2 * hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        return self.merge(torch.cat([self.blocks(self.enter(x)), self.bypass(x)], dim=1))


class SplitStage(nn.Module):
    """A stage that splits its channels into two halves and runs a chain of blocks on the second half.

    A convolution then merges both halves and the output of every block. Each half has hidden_ratio * c_out
    channels. The blocks are bottlenecks or, if `deep` is true, cross stages.
    """

    def __init__(
        self, c_in: int, c_out: int, repeats: int, *, hidden_ratio: float = 0.5, deep: bool = False
    ) -> None:
        super().__init__()
        hidden = int(c_out * hidden_ratio)
        self.split = ConvBlock(c_in, 2 * hidden)
        self.blocks = nn.ModuleList(
            CrossStage(hidden) if deep else Bottleneck(hidden, hidden // 2) for _ in range(repeats)
        )
        self.merge = ConvBlock((2 + repeats) * hidden, c_out)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, c_in, H, W) to (B, c_out, H, W)."""
        steps = list(self.split(x).chunk(2, dim=1))
        for block in self.blocks:
            steps.append(block(steps[-1]))
        return self.merge(torch.cat(steps, dim=1))
