"""The experts of mixture layers, which keep the shape of a feature map."""

from math import ceil

import torch
from torch import Tensor, nn

from training.config import MixtureConfig
from training.models.depthwise import DepthwiseConv2d
from training.models.layers import ConvBlock, Norm, norm_layer
from training.models.mixture.dynamic import KernelExpert

# B batch · C channels · H, W feature-map size


class DepthwiseSeparableExpert(nn.Module):
    """A k×k depthwise convolution, then a 1×1 convolution. Source: arXiv:2512.23273, section 3.2."""

    def __init__(self, channels: int, kernel: int, norm: Norm = "batch") -> None:
        super().__init__()
        self.depthwise = DepthwiseConv2d(channels, kernel)
        self.conv = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn = norm_layer(channels, norm)
        self.act = nn.SiLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        return self.act(self.bn(self.conv(self.depthwise(x))))


class SimpleExpert(nn.Module):
    """Two convolutions with norms and, between them, SiLU. In YOLO-Master v0.1, the kernel size is 1."""

    def __init__(self, channels: int, kernel: int, ratio: float, norm: Norm) -> None:
        super().__init__()
        hidden = int(channels * ratio)
        self.expand = ConvBlock(channels, hidden, kernel, norm=norm)
        self.project = ConvBlock(hidden, channels, kernel, act=False, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        return self.project(self.expand(x))


class GhostExpert(nn.Module):
    """An expert whose first convolution gives half of the channels; a depthwise convolution adds the rest.

    Source: Han et al. 2020, arXiv:1911.11907.
    """

    def __init__(self, channels: int, kernel: int, norm: Norm) -> None:
        super().__init__()
        half = ceil(channels / 2)
        self.primary = ConvBlock(channels, half, kernel, norm=norm)
        self.cheap = ConvBlock(half, half, 3, depthwise=True, norm=norm)
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        primary = self.primary(x)
        return torch.cat([primary, self.cheap(primary)], dim=1)[:, : self.channels]


class InvertedResidualExpert(nn.Module):
    """A 1×1 convolution to more channels, a k×k depthwise convolution, and a 1×1 convolution back.

    Source: arXiv:1801.04381.
    """

    def __init__(self, channels: int, kernel: int, ratio: float, norm: Norm) -> None:
        super().__init__()
        hidden = int(channels * ratio)
        self.expand = ConvBlock(channels, hidden, norm=norm)
        self.filter = ConvBlock(hidden, hidden, kernel, depthwise=True, norm=norm)
        self.project = ConvBlock(hidden, channels, act=False, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        return self.project(self.filter(self.expand(x)))


def build_experts(channels: int, config: MixtureConfig) -> nn.ModuleList:
    """Return one expert of the configured kind for each kernel size."""

    def build(kernel: int) -> nn.Module:
        match config.expert:
            case "depthwise":
                return DepthwiseSeparableExpert(channels, kernel, config.norm)
            case "simple":
                return SimpleExpert(channels, kernel, config.expert_ratio, config.norm)
            case "ghost":
                return GhostExpert(channels, kernel, config.norm)
            case "inverted":
                return InvertedResidualExpert(channels, kernel, config.expert_ratio, config.norm)
            case "dynamic":
                return KernelExpert(channels, kernel, config.expert_ratio)

    return nn.ModuleList(build(kernel) for kernel in config.kernel_sizes)
