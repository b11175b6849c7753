"""The backbone: maps images to feature maps at strides 8, 16, 32; mixture layers may follow its stages."""

from torch import Tensor, nn

from training.config import PLAIN_P2, STAGES, ModelConfig
from training.models.area_attention import AggregationStage
from training.models.layers import ConvBlock, SplitStage, halve
from training.models.mixture.layer import Dispatch, MixtureLayer
from training.models.mixture.routing import Routing, RoutingControls

Maps = tuple[Tensor, Tensor, Tensor]  # at strides 8, 16, 32


def scaled_channels(config: ModelConfig, channels: int) -> int:
    """Return the number of channels of a stage, scaled to the model size and rounded to a multiple of 8."""
    width = min(channels, config.max_channels) * config.width
    return -(-int(width) // 8) * 8


def scaled_repeats(config: ModelConfig, repeats: int) -> int:
    """Return the number of blocks of a stage, scaled to the model size; it is at least 1."""
    return max(round(repeats * config.depth), 1)


class Backbone(nn.Module):
    """The backbone of YOLOv12 (arXiv:2502.12524, section 3.4), with stages p2 to p5 at strides 4 to 32."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        c64, c128, c256, c512, c1024 = (scaled_channels(config, c) for c in (64, 128, 256, 512, 1024))
        shallow, deep = scaled_repeats(config, 2), scaled_repeats(config, 4)

        def split(c_in: int, c_out: int) -> nn.Module:
            return SplitStage(c_in, c_out, shallow, hidden_ratio=0.25, deep=config.deep_stages)

        def attend(name: str, channels: int, areas: int) -> nn.Module:
            if f"backbone.{name}" in config.plain_stages:
                return nn.Identity()
            return AggregationStage(
                channels,
                channels,
                deep,
                areas=areas,
                mlp_ratio=config.mlp_ratio,
                scaled_residual=config.scaled_residual,
            )

        self.stem = ConvBlock(3, c64, 3, 2)  # (B, c64, H/2, W/2)
        plain = PLAIN_P2 in config.plain_stages
        self.p2 = nn.Sequential(ConvBlock(c64, c128, 3, 2), nn.Identity() if plain else split(c128, c256))
        at_p2 = c128 if plain else c256
        self.p3 = nn.Sequential(ConvBlock(at_p2, c256, 3, 2), split(c256, c512))
        self.p4 = nn.Sequential(halve(c512, c512, light=config.light), attend("p4", c512, areas=4))
        self.p5 = nn.Sequential(halve(c512, c1024, light=config.light), attend("p5", c1024, areas=1))
        self.mixtures = nn.ModuleDict()
        for stage, channels in zip(STAGES, (at_p2, c512, c512, c1024), strict=True):
            if f"backbone.{stage}" in config.mixtures:
                self.mixtures[stage] = MixtureLayer(
                    channels, config.mixtures[f"backbone.{stage}"], paths=config.paths
                )
        self.channels = (c512, c512, c1024)  # channels of the maps that forward returns

    def forward(
        self, x: Tensor, controls: RoutingControls, dispatch: Dispatch | None
    ) -> tuple[Maps, dict[str, Routing]]:
        """Return feature maps of x (B, 3, H, W) at strides 8, 16, 32, and each mixture layer's routing."""
        routings: dict[str, Routing] = {}
        maps = []
        x = self.stem(x)
        for stage in STAGES:
            x = getattr(self, stage)(x)
            if stage in self.mixtures:
                x, routings[f"backbone.{stage}"] = self.mixtures[stage](x, controls, dispatch)
            maps.append(x)
        return (maps[1], maps[2], maps[3]), routings
