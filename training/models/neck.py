"""The neck, which combines coarse and fine feature maps, top-down and bottom-up, for the head."""

import torch
from torch import Tensor, nn

from training.config import LEVELS, ModelConfig
from training.models.area_attention import AggregationStage
from training.models.backbone import Maps, scaled_channels, scaled_repeats
from training.models.layers import ConvBlock, SplitStage, halve
from training.models.mixture.layer import Dispatch, MixtureLayer
from training.models.mixture.routing import Routing, RoutingControls


class Neck(nn.Module):
    """A path aggregation network over strides 8, 16, 32.

    The neck "area" is the neck of YOLOv12 (arXiv:2502.12524); it has aggregation stages, and its last map has
    the full width. The neck "c3k" is the neck of YOLO-Master (arXiv:2512.23273); it has split stages, and its
    last map has half the width.
    """

    def __init__(self, config: ModelConfig, channels: tuple[int, int, int]) -> None:
        super().__init__()
        c3, c4, c5 = channels
        c256, c512, c1024 = (scaled_channels(config, c) for c in (256, 512, 1024))
        repeats = scaled_repeats(config, 2)
        wide = c1024 if config.neck == "area" else c512

        def stage(c_in: int, c_out: int, name: str = "") -> nn.Module:
            if name in config.plain_stages:
                return ConvBlock(c_in, c_out)
            if config.neck == "area" and name != "neck.p5":
                return AggregationStage(c_in, c_out, repeats, areas=None)
            return SplitStage(c_in, c_out, repeats, deep=True)

        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        self.top_down_p4 = stage(c5 + c4, c512)
        self.top_down_p3 = stage(c512 + c3, c256, "neck.p3")
        self.downsample_p3 = halve(c256, c256, light=config.light)
        self.bottom_up_p4 = stage(c256 + c512, c512, "neck.p4")
        self.downsample_p4 = halve(c512, c512, light=config.light)
        self.bottom_up_p5 = stage(c512 + c5, wide, "neck.p5")
        self.channels = (c256, c512, wide)
        self.mixtures = nn.ModuleDict()
        for level, width in zip(LEVELS, self.channels, strict=True):
            if f"neck.{level}" in config.mixtures:
                self.mixtures[level] = MixtureLayer(
                    width, config.mixtures[f"neck.{level}"], paths=config.paths
                )

    def forward(
        self, maps: Maps, controls: RoutingControls, dispatch: Dispatch | None
    ) -> tuple[Maps, dict[str, Routing]]:
        """Return the combined maps at strides 8, 16, 32, and the mixture layers' routings by name."""
        p3, p4, p5 = maps
        routings: dict[str, Routing] = {}

        def mix(level: str, x: Tensor) -> Tensor:
            if level in self.mixtures:
                x, routings[f"neck.{level}"] = self.mixtures[level](x, controls, dispatch)
            return x

        mid = self.top_down_p4(torch.cat([self.upsample(p5), p4], dim=1))
        fine = mix("p3", self.top_down_p3(torch.cat([self.upsample(mid), p3], dim=1)))
        mid = mix("p4", self.bottom_up_p4(torch.cat([self.downsample_p3(fine), mid], dim=1)))
        coarse = mix("p5", self.bottom_up_p5(torch.cat([self.downsample_p4(mid), p5], dim=1)))
        return (fine, mid, coarse), routings
