"""Attention inside horizontal strips of a feature map, and a stage that is built from attention blocks.

Source: Tian et al. 2025, YOLOv12, arXiv:2502.12524, sections 3.2 and 3.3.
"""

import torch
from torch import Tensor, nn

from training.models.layers import ConvBlock, CrossStage

# B batch · C channels · H, W feature-map size · S strips · T tokens in a strip · N heads · D channels a head

HEAD_CHANNELS = 32
SCALE_START = 0.01  # initial learned factor; without a factor, the largest model sizes do not converge


class AreaAttention(nn.Module):
    """Self-attention inside horizontal strips of a feature map.

    The cells of the map, row by row, are divided into `areas` strips of equal size, so H * W must be
    divisible by `areas`. Attention itself does not use positions. So a 7×7 depthwise convolution of the
    values (V) is added to the output of attention.
    """

    def __init__(self, channels: int, areas: int) -> None:
        super().__init__()
        self.areas = areas
        self.heads = channels // HEAD_CHANNELS
        self.qkv = ConvBlock(channels, 3 * channels, act=False)
        self.perceiver = ConvBlock(channels, channels, 7, depthwise=True, act=False)
        self.project = ConvBlock(channels, channels, act=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        batch, channels, height, width = x.shape
        strips, tokens = self.areas, height * width // self.areas
        qkv = self.qkv(x)  # (B, 3C, H, W), channels ordered (N, [q | k | v], D)
        per_head = qkv.view(batch, self.heads, 3 * HEAD_CHANNELS, strips, tokens)
        per_head = per_head.transpose(2, 3)  # (B, N, S, 3D, T)
        q, k, v = per_head.split(HEAD_CHANNELS, dim=3)  # (B, N, S, D, T) each
        weights = (q.transpose(3, 4) @ k * HEAD_CHANNELS**-0.5).softmax(dim=-1)  # (B, N, S, T, T)
        mixed = v @ weights.transpose(3, 4)  # (B, N, S, D, T)
        back = (batch, channels, height, width)
        mixed, values = mixed.transpose(2, 3).reshape(back), v.transpose(2, 3).reshape(back)
        return self.project(mixed + self.perceiver(values))


class AttentionBlock(nn.Module):
    """Area attention, then a two-layer perceptron (MLP), each with a residual path."""

    def __init__(self, channels: int, areas: int, mlp_ratio: float = 2.0) -> None:
        super().__init__()
        hidden = int(channels * mlp_ratio)
        self.attention = AreaAttention(channels, areas)
        self.mlp = nn.Sequential(ConvBlock(channels, hidden), ConvBlock(hidden, channels, act=False))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.trunc_normal_(module.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        x = x + self.attention(x)
        return x + self.mlp(x)


class AggregationStage(nn.Module):
    """YOLOv12's R-ELAN stage: a convolution merges the input and all outputs of a narrow chain of blocks.

    Args:
        areas: number of strips in each attention block; if None, the blocks are convolutional.
        mlp_ratio: ratio of hidden width to channels in the MLP of each attention block.
        scaled_residual: if true, the merging convolution's output is multiplied by a learned factor per
            channel, and then the stage's input is added to it. In this case, c_in must equal c_out.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        repeats: int,
        *,
        areas: int | None,
        mlp_ratio: float = 2.0,
        scaled_residual: bool = False,
    ) -> None:
        super().__init__()
        hidden = c_out // 2
        self.enter = ConvBlock(c_in, hidden)
        self.blocks = nn.ModuleList(
            CrossStage(hidden)
            if areas is None
            else nn.Sequential(*(AttentionBlock(hidden, areas, mlp_ratio) for _ in range(2)))
            for _ in range(repeats)
        )
        self.merge = ConvBlock((1 + repeats) * hidden, c_out)
        self.scale = nn.Parameter(torch.full((c_out,), SCALE_START)) if scaled_residual else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, c_in, H, W) to (B, c_out, H, W)."""
        steps = [self.enter(x)]
        for block in self.blocks:
            steps.append(block(steps[-1]))
        merged = self.merge(torch.cat(steps, dim=1))
        return merged if self.scale is None else x + self.scale[:, None, None] * merged
