"""The detection head: for every cell of every level, side distances and class scores."""

import math

import torch
from torch import Tensor, nn

from training.config import STRIDES, ModelConfig
from training.models.layers import ConvBlock

# B batch · A anchors of all levels · C classes · R bins of a side's distribution

EXPECTED_OBJECTS = 5.0  # an image starts out expected to hold this many, spread over all classes and cells
PRIOR_CANVAS = 640


class DetectHead(nn.Module):
    """Two branches a level, no shared weights between levels."""

    def __init__(self, config: ModelConfig, channels: tuple[int, int, int]) -> None:
        super().__init__()
        self.num_classes = len(config.class_names)
        self.reg_max = config.reg_max
        box_width = max(16, channels[0] // 4, 4 * config.reg_max)
        class_width = max(channels[0], min(self.num_classes, 100))
        self.box_branches = nn.ModuleList(
            nn.Sequential(
                ConvBlock(c, box_width, 3),
                ConvBlock(box_width, box_width, 3),
                nn.Conv2d(box_width, 4 * config.reg_max, 1),
            )
            for c in channels
        )
        self.class_branches = nn.ModuleList(
            nn.Sequential(
                ConvBlock(c, c, 3, depthwise=True),
                ConvBlock(c, class_width),
                ConvBlock(class_width, class_width, 3, depthwise=True),
                ConvBlock(class_width, class_width),
                nn.Conv2d(class_width, self.num_classes, 1),
            )
            for c in channels
        )
        self._init_biases()

    def _init_biases(self) -> None:
        """Start from rare objects, so that the first steps are not spent on unlearning them."""
        for stride, boxes, classes in zip(STRIDES, self.box_branches, self.class_branches, strict=True):
            cells = (PRIOR_CANVAS / stride) ** 2
            nn.init.constant_(_last_bias(boxes), 1.0)
            nn.init.constant_(_last_bias(classes), math.log(EXPECTED_OBJECTS / self.num_classes / cells))

    def forward(self, maps: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Maps, finest first, to box logits (B, A, 4, R) and class logits (B, A, C)."""
        box_levels, class_levels = [], []
        for x, boxes, classes in zip(maps, self.box_branches, self.class_branches, strict=True):
            box_levels.append(boxes(x).flatten(2))  # (B, 4R, cells)
            class_levels.append(classes(x).flatten(2))  # (B, C, cells)
        box_logits = torch.cat(box_levels, dim=2).transpose(1, 2)  # (B, A, 4R)
        class_logits = torch.cat(class_levels, dim=2).transpose(1, 2)  # (B, A, C)
        return box_logits.unflatten(2, (4, self.reg_max)), class_logits


def _last_bias(branch: nn.Module) -> Tensor:
    assert isinstance(branch, nn.Sequential)
    last = branch[-1]
    assert isinstance(last, nn.Conv2d)
    assert last.bias is not None
    return last.bias
