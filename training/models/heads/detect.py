"""The detection head: predicts side distances and class scores for every cell of every level."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from training.config import STRIDES, ModelConfig
from training.models.backbone import Maps
from training.models.heads.branches import box_branch, branch_widths, light_branch, start_biases
from training.models.mixture.layer import Dispatch
from training.models.mixture.routing import Routing, RoutingControls

# B batch · A anchors of all levels · C classes · R bins of a side's distribution


class Predictions(NamedTuple):
    """The output of one forward pass; anchors of the finest level come first."""

    box_logits: Tensor  # (B, A, 4, R)
    class_logits: Tensor  # (B, A, C)
    routings: dict[str, Routing]  # by layer name, in the order in which the layers run


class DetectHead(nn.Module):
    """Two branches per level; levels share no weights."""

    def __init__(self, config: ModelConfig, channels: tuple[int, int, int]) -> None:
        super().__init__()
        self.reg_max = config.reg_max
        num_classes = len(config.class_names)
        box_width, class_width = branch_widths(config, channels[0])

        def boxes_of(c_in: int) -> nn.Sequential:
            if config.light:
                return light_branch(c_in, box_width, 4 * config.reg_max)
            return box_branch(c_in, box_width, config.reg_max)

        self.box_branches = nn.ModuleList(boxes_of(c) for c in channels)
        self.class_branches = nn.ModuleList(light_branch(c, class_width, num_classes) for c in channels)
        for stride, boxes, classes in zip(STRIDES, self.box_branches, self.class_branches, strict=True):
            start_biases(boxes, classes, stride)

    def forward(self, maps: Maps, controls: RoutingControls, dispatch: Dispatch | None) -> Predictions:
        """Return the predictions for feature maps, finest first; this head has no mixtures."""
        levels = zip(maps, self.box_branches, self.class_branches, strict=True)
        per_level = [(boxes(x), classes(x)) for x, boxes, classes in levels]
        return Predictions(*join_levels(per_level, self.reg_max), {})


def join_levels(per_level: list[tuple[Tensor, Tensor]], reg_max: int) -> tuple[Tensor, Tensor]:
    """Return the levels' (B, 4R, H, W) and (B, C, H, W) joined to logits (B, A, 4, R) and (B, A, C)."""
    # Channels are moved last first, which costs nothing in engines with channels-last convolutions.
    boxes, classes = (
        torch.cat([maps.permute(0, 2, 3, 1).flatten(1, 2) for maps in branch], dim=1)
        for branch in zip(*per_level, strict=True)
    )
    return boxes.unflatten(2, (4, reg_max)), classes
