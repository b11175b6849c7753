"""The experts of mixture layers, which keep the shape of a feature map."""

from torch import Tensor, nn

from training.config import MixtureConfig
from training.models.depthwise import DepthwiseConv2d
from training.models.layers import ConvBlock, Norm, norm_layer

# B batch · C channels · H, W feature-map size


class DepthwiseSeparableExpert(nn.Module):
    """k×k depthwise, then 1×1 convolution. Source: arXiv:2512.23273, section 3.2."""

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
    """Convolution, norm, SiLU, convolution, norm. YOLO-Master v0.1 has these experts with kernel size 1."""

    def __init__(self, channels: int, kernel: int, ratio: float, norm: Norm) -> None:
        super().__init__()
        hidden = int(channels * ratio)
        self.expand = ConvBlock(channels, hidden, kernel, norm=norm)
        self.project = ConvBlock(hidden, channels, kernel, act=False, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        return self.project(self.expand(x))


def build_experts(channels: int, config: MixtureConfig) -> nn.ModuleList:
    """Return one expert of the configured kind for each kernel size."""

    if config.expert == "depthwise":
        return nn.ModuleList(DepthwiseSeparableExpert(channels, k, config.norm) for k in config.kernel_sizes)
    return nn.ModuleList(
        SimpleExpert(channels, k, config.expert_ratio, config.norm) for k in config.kernel_sizes
    )
