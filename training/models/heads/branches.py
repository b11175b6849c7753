"""The two branches of a detection head at one level: side distances, and class scores."""

import math

from torch import nn

from training.config import ModelConfig
from training.models.layers import ConvBlock

EXPECTED_OBJECTS = 5.0  # an image starts out expected to hold this many, spread over all classes and cells
PRIOR_CANVAS = 640


def box_branch(channels: int, width: int, reg_max: int) -> nn.Sequential:
    """Map (B, C, H, W) to (B, 4R, H, W): two 3×3 convolutions, then a linear one."""
    return nn.Sequential(
        ConvBlock(channels, width, 3), ConvBlock(width, width, 3), nn.Conv2d(width, 4 * reg_max, 1)
    )


def light_branch(channels: int, width: int, c_out: int) -> nn.Sequential:
    """Map (B, C, H, W) to (B, c_out, H, W): two depthwise-separable convolutions, then a linear one."""
    return nn.Sequential(
        ConvBlock(channels, channels, 3, depthwise=True),
        ConvBlock(channels, width),
        ConvBlock(width, width, 3, depthwise=True),
        ConvBlock(width, width),
        nn.Conv2d(width, c_out, 1),
    )


def branch_widths(config: ModelConfig, finest_channels: int) -> tuple[int, int]:
    """Return the widths of the box and the class branch, the same at every level."""
    box_width = max(16, finest_channels // 4, 4 * config.reg_max)
    return box_width, max(finest_channels, min(len(config.class_names), 100))


def start_biases(
    boxes: nn.Module, classes: nn.Module, stride: int, *, box: float = 1.0, prior: float = 1.0
) -> None:
    """Start from rare objects, so that the first steps are not spent on unlearning them.

    Args:
        box: what the logits of the side distances start at.
        prior: factor on the probability that a class starts with.
    """
    cells = (PRIOR_CANVAS / stride) ** 2
    for branch in (boxes, classes):
        assert isinstance(branch, nn.Sequential)
        last = branch[-1]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        start = box if branch is boxes else math.log(prior * EXPECTED_OBJECTS / len(last.bias) / cells)
        nn.init.constant_(last.bias, start)
