"""The two branches of a detection head at one level: for side distances and for class scores."""

import math

from torch import nn

from training.config import ModelConfig
from training.models.layers import ConvBlock

EXPECTED_OBJECTS = 5.0  # objects per image that initial class scores assume, over all classes and cells
PRIOR_CANVAS = 640


def box_branch(channels: int, width: int, reg_max: int) -> nn.Sequential:
    """Return a module of two 3×3 convolutions and a linear one: maps (B, C, H, W) to (B, 4R, H, W)."""
    return nn.Sequential(
        ConvBlock(channels, width, 3), ConvBlock(width, width, 3), nn.Conv2d(width, 4 * reg_max, 1)
    )


def light_branch(channels: int, width: int, c_out: int) -> nn.Sequential:
    """Return a module of two depthwise-separable convolutions and a linear one.

    It maps (B, C, H, W) to (B, c_out, H, W).
    """
    return nn.Sequential(
        ConvBlock(channels, channels, 3, depthwise=True),
        ConvBlock(channels, width),
        ConvBlock(width, width, 3, depthwise=True),
        ConvBlock(width, width),
        nn.Conv2d(width, c_out, 1),
    )


def branch_widths(config: ModelConfig, finest_channels: int) -> tuple[int, int]:
    """Return the hidden channels of the box and the class branches, which are the same at all levels."""
    box_width = max(16, finest_channels // 4, 4 * config.reg_max)
    return box_width, max(finest_channels, min(len(config.class_names), 100))


def start_biases(
    boxes: nn.Module, classes: nn.Module, stride: int, *, box: float = 1.0, prior: float = 1.0
) -> None:
    """Set the last biases of both branches so that the initial class scores are low, as objects are rare.

    Otherwise the first training steps would be spent on lowering the scores.

    Args:
        boxes: the box branch.
        classes: the class branch.
        stride: the stride of the level in pixels.
        box: initial bias of the box branch.
        prior: factor on the initial probability of each class.
    """
    cells = (PRIOR_CANVAS / stride) ** 2
    for branch in (boxes, classes):
        assert isinstance(branch, nn.Sequential)
        last = branch[-1]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        start = box if branch is boxes else math.log(prior * EXPECTED_OBJECTS / len(last.bias) / cells)
        nn.init.constant_(last.bias, start)
