"""The mixture detection head, where a router weights the outputs of several light heads at every level."""

from itertools import cycle

import torch
from torch import Tensor, nn

from training.config import LEVELS, STRIDES, ModelConfig
from training.models.backbone import Maps
from training.models.heads.detect import (
    Predictions,
    box_branch,
    branch_widths,
    join_levels,
    light_branch,
    start_biases,
)
from training.models.mixture.layer import Dispatch, MixtureLayer
from training.models.mixture.routing import Routing, RoutingControls

# B batch · C classes · R bins of a side's distribution

# Initial biases of the four experts, which differ to suit small, medium and large objects, and crowds.
BOX_STARTS = (0.5, 1.0, 1.5, 1.0)
PRIOR_FACTORS = (1.0, 1.0, 0.8, 1.2)
LIGHT = 2  # a DetectHead's branches are wider by this factor


class HeadExpert(nn.Module):
    """An expert of the mixture detection head, which is a light head for one level.

    It returns box and class logits as one map, because a mixture layer weights a single map per expert.
    """

    def __init__(self, channels: int, widths: tuple[int, int], box_outputs: int, num_classes: int) -> None:
        super().__init__()
        self.boxes = box_branch(channels, widths[0] // LIGHT, box_outputs)
        self.classes = light_branch(channels, widths[1] // LIGHT, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map features (B, channels, H, W) to logits (B, box_outputs + num_classes, H, W)."""
        return torch.cat([self.boxes(x), self.classes(x)], dim=1)


class MixtureDetectHead(nn.Module):
    """A detection head with one mixture layer per level; by default, all experts run."""

    def __init__(self, config: ModelConfig, channels: tuple[int, int, int]) -> None:
        super().__init__()
        self.reg_max = config.reg_max
        self.box_outputs, num_classes = 4 * config.reg_max, len(config.class_names)
        widths = branch_widths(config, channels[0])
        self.mixtures = nn.ModuleDict()
        for level, stride, c_in in zip(LEVELS, STRIDES, channels, strict=True):
            mixture = config.mixtures[f"head.{level}"]
            experts = [
                HeadExpert(c_in, widths, self.box_outputs, num_classes) for _ in range(mixture.num_experts)
            ]
            for expert, box, prior in zip(experts, cycle(BOX_STARTS), cycle(PRIOR_FACTORS), strict=False):
                start_biases(expert.boxes, expert.classes, stride, box=box, prior=prior)
            c_out = self.box_outputs + num_classes
            self.mixtures[level] = MixtureLayer(
                c_in, mixture, experts=nn.ModuleList(experts), c_out=c_out, paths=config.paths
            )

    def forward(self, maps: Maps, controls: RoutingControls, dispatch: Dispatch | None) -> Predictions:
        """Return the weighted mean of the experts' logits for each feature map, finest first."""
        per_level, routings = [], dict[str, Routing]()
        for x, level in zip(maps, LEVELS, strict=True):
            total, routings[f"head.{level}"] = self.mixtures[level](x, controls, dispatch)
            per_level.append((total[:, : self.box_outputs], total[:, self.box_outputs :]))
        return Predictions(*join_levels(per_level, self.reg_max), routings)
