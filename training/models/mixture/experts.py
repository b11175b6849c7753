"""Experts: a map in, a map of the same size out."""

from torch import Tensor, nn

from training.models.depthwise import DepthwiseConv2d
from training.models.layers import batch_norm


class DepthwiseSeparableExpert(nn.Module):
    """k×k filter on each channel, then a 1×1 mix of channels. Source: arXiv:2512.23273, section 3.2."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.depthwise = DepthwiseConv2d(channels, kernel)
        self.conv = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn = batch_norm(channels)
        self.act = nn.SiLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return self.act(self.bn(self.conv(self.depthwise(x))))
