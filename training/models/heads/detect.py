"""The detection head: predicts side distances and class scores for every cell of every level."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from training.config import STRIDES, ModelConfig
from training.models.backbone import Maps
from training.models.layers import ConvBlock
from training.models.mixture.layer import Dispatch
from training.models.mixture.routing import Routing, RoutingControls

# B batch · A anchors of all levels · C classes · R bins of a side's distribution

# The initial class scores assume 5 objects in an image of 640 × 640, over all classes and cells.
EXPECTED_OBJECTS = 5.0
EXPECTED_SIDE = 640


class Predictions(NamedTuple):
    """The output of a detector for one batch; anchors of the finest level come first."""

    box_logits: Tensor  # (B, A, 4, R)
    class_logits: Tensor  # (B, A, C)
    routings: dict[str, Routing]  # by layer name, in the order in which the layers run
    extras: Tensor | None = None  # (B, A, K): what the networks of further tasks predict for each anchor
    prototypes: Tensor | None = None  # (B, 32, H / 4, W / 4): masks that segmentation sums up
    path: Routing | None = None  # of a network that chose a path for each image


class DetectHead(nn.Module):
    """A detection head with a box branch and a class branch at each level; levels share no weights."""

    def __init__(self, config: ModelConfig, channels: tuple[int, int, int]) -> None:
        super().__init__()
        self.reg_max = config.reg_max
        box_width, class_width = branch_widths(config, channels[0])
        box_outputs = 4 * config.reg_max
        self.box_branches = nn.ModuleList(
            light_branch(c, box_width, box_outputs) if config.light else box_branch(c, box_width, box_outputs)
            for c in channels
        )
        self.class_branches = nn.ModuleList(
            light_branch(c, class_width, len(config.class_names)) for c in channels
        )
        for stride, boxes, classes in zip(STRIDES, self.box_branches, self.class_branches, strict=True):
            start_biases(boxes, classes, stride)

    def forward(self, maps: Maps, controls: RoutingControls, dispatch: Dispatch | None) -> Predictions:
        """Return the predictions for the feature maps, which are ordered from finest to coarsest.

        The predictions hold no routings, because this head has no mixture layers.
        """
        levels = zip(maps, self.box_branches, self.class_branches, strict=True)
        per_level = [(boxes(x), classes(x)) for x, boxes, classes in levels]
        return Predictions(*join_levels(per_level, self.reg_max), {})


def branch_widths(config: ModelConfig, finest_channels: int) -> tuple[int, int]:
    """Return the hidden channels of the box branch and of the class branch, the same at all levels."""
    box_width = max(16, finest_channels // 4, 4 * config.reg_max)
    return box_width, max(finest_channels, min(len(config.class_names), 100))


def box_branch(channels: int, width: int, c_out: int) -> nn.Sequential:
    """Return a branch of two 3×3 blocks and a plain 1×1 convolution to c_out channels; H and W stay."""
    return nn.Sequential(
        ConvBlock(channels, width, 3), ConvBlock(width, width, 3), nn.Conv2d(width, c_out, 1)
    )


def light_branch(channels: int, width: int, c_out: int) -> nn.Sequential:
    """Return a branch of two separable blocks and a plain 1×1 convolution to c_out channels."""
    return nn.Sequential(
        ConvBlock(channels, channels, 3, depthwise=True),
        ConvBlock(channels, width),
        ConvBlock(width, width, 3, depthwise=True),
        ConvBlock(width, width),
        nn.Conv2d(width, c_out, 1),
    )


def start_biases(
    boxes: nn.Module, classes: nn.Module, stride: int, *, box: float = 1.0, prior: float = 1.0
) -> None:
    """Set the biases of the last layers of a level's branches so that initial class scores are low.

    Most anchors have no object. With high initial scores, the first training steps would only lower them.

    Args:
        box: initial bias of the box branch.
        prior: factor by which the initial probability of each class is multiplied.
    """
    cells = (EXPECTED_SIDE / stride) ** 2
    for branch in (boxes, classes):
        assert isinstance(branch, nn.Sequential)
        last = branch[-1]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        start = box if branch is boxes else math.log(prior * EXPECTED_OBJECTS / len(last.bias) / cells)
        nn.init.constant_(last.bias, start)


def join_levels(per_level: list[tuple[Tensor, Tensor]], reg_max: int) -> tuple[Tensor, Tensor]:
    """Join box maps (B, 4R, H, W) of all levels to (B, A, 4, R), and class maps (B, C, H, W) to (B, A, C)."""
    boxes, classes = (join_anchors(branch) for branch in zip(*per_level, strict=True))
    return boxes.unflatten(2, (4, reg_max)), classes


def join_anchors(maps: Sequence[Tensor]) -> Tensor:
    """Join the maps (B, K, H, W) of all levels to one tensor (B, A, K) with a row for each anchor."""
    # Before joining, channels become the last axis: this costs nothing if convolutions are channels-last.
    return torch.cat([each.permute(0, 2, 3, 1).flatten(1, 2) for each in maps], dim=1)


class AnchorBranches(nn.Module):
    """Branches that predict K further numbers for each anchor; there is one branch for each level."""

    def __init__(self, channels: tuple[int, int, int], width: int, outputs: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(box_branch(c, width, outputs) for c in channels)

    def forward(self, maps: Maps) -> Tensor:
        """Return the numbers for all anchors, (B, A, K); `maps` are the feature maps, finest first."""
        return join_anchors([branch(x) for branch, x in zip(self.levels, maps, strict=True)])
