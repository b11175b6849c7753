"""Routers, which map a feature map to one logit per expert.

In evaluation, an image's logits do not depend on the other images of the batch. Routers always compute in
float32, because rounding in half precision could change which experts are chosen.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.config import RouterConfig
from training.models.layers import ConvBlock, batch_norm, group_norm

# B batch · C channels · E experts · H, W feature-map size

VARIANCE_EPS = 1e-6  # a square root has an infinite gradient at 0


class PooledRouter(nn.Module):
    """A router that scores experts from the mean of each channel. Source: arXiv:2512.23273, section 3.3."""

    def __init__(self, channels: int, num_experts: int, config: RouterConfig) -> None:
        super().__init__()
        self.hidden = nn.Linear(channels, hidden_width(channels, config))
        self.dropout = config.dropout
        self.score = nn.Linear(self.hidden.out_features, num_experts)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to logits (B, E)."""
        hidden = functional.silu(self.hidden(x.mean(dim=(2, 3))))
        return self.score(functional.dropout(hidden, self.dropout, self.training))


class MomentsRouter(nn.Module):
    """A router that scores experts from the mean, standard deviation and maximum of each channel.

    A few small objects hardly change the mean, but they change the deviation and the maximum.
    """

    def __init__(self, channels: int, num_experts: int, config: RouterConfig) -> None:
        super().__init__()
        self.hidden = nn.Linear(3 * channels, hidden_width(channels, config))
        self.score = nn.Linear(self.hidden.out_features, num_experts)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to logits (B, E)."""
        mean = x.mean(dim=(2, 3), keepdim=True)
        away = x - mean
        deviation = ((away * away).mean(dim=(2, 3)) + VARIANCE_EPS).sqrt()  # engines may lack powers
        moments = torch.cat([mean.flatten(1), deviation, x.amax(dim=(2, 3))], dim=1)  # (B, 3C)
        return self.score(functional.silu(self.hidden(moments)))


class SpatialRouter(nn.Module):
    """A router that scores experts at every cell of a downscaled map, and averages the scores.

    The first layer is a 3×3 convolution.
    """

    def __init__(self, channels: int, num_experts: int, config: RouterConfig) -> None:
        super().__init__()
        hidden = hidden_width(channels, config)
        self.pool = config.pool
        self.hidden = ConvBlock(channels, hidden, 3)
        self.score = nn.Conv2d(hidden, num_experts, 1, bias=False)
        self.norm = batch_norm(num_experts)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to logits (B, E)."""
        return self.norm(self.score(self.hidden(shrink(x, self.pool)))).mean(dim=(2, 3))


class AdaptiveRouter(nn.Module):
    """A router that scores experts from the mean of each channel, with a group norm between two layers.

    Both layers are 1×1 convolutions. The norm is over all channels of an image. A batch norm could not be
    trained with one image per batch, because the mean leaves only one value per channel.
    """

    def __init__(self, channels: int, num_experts: int, config: RouterConfig) -> None:
        super().__init__()
        hidden = hidden_width(channels, config)
        self.hidden = nn.Conv2d(channels, hidden, 1, bias=False)
        self.norm = nn.GroupNorm(1, hidden)
        self.score = nn.Conv2d(hidden, num_experts, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to logits (B, E)."""
        hidden = functional.silu(self.norm(self.hidden(x.mean(dim=(2, 3), keepdim=True))))
        return self.score(hidden).flatten(1)


class UltraEfficientRouter(nn.Module):
    """A router that is cheap even for large maps, because it downscales the map first.

    A depthwise 3×3 convolution and a 1×1 convolution to few channels follow. The resulting map is normalised
    as one group, because norms of single channels would remove the differences between images.
    """

    def __init__(self, channels: int, num_experts: int, config: RouterConfig) -> None:
        super().__init__()
        hidden = hidden_width(channels, config)
        self.pool = config.pool
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.depthwise_norm = group_norm(channels)
        self.hidden = nn.Conv2d(channels, hidden, 1, bias=False)
        self.norm = nn.GroupNorm(1, hidden)
        self.score = nn.Conv2d(hidden, num_experts, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to logits (B, E)."""
        pool = whole_pool(x.shape[2], x.shape[3], self.pool)
        x = functional.silu(self.depthwise_norm(self.depthwise(shrink(x, pool))))
        x = functional.silu(self.norm(self.hidden(x)))
        return self.score(x).mean(dim=(2, 3))


def build_router(channels: int, num_experts: int, config: RouterConfig) -> nn.Module:
    """Return the configured router for feature maps with the given number of channels."""
    match config.kind:
        case "pooled":
            router: nn.Module = PooledRouter(channels, num_experts, config)
        case "moments":
            router = MomentsRouter(channels, num_experts, config)
        case "spatial":
            router = SpatialRouter(channels, num_experts, config)
        case "adaptive":
            router = AdaptiveRouter(channels, num_experts, config)
        case "ultra":
            router = UltraEfficientRouter(channels, num_experts, config)
    if config.init_std is not None:
        assert isinstance(router.score, nn.Linear | nn.Conv2d)
        nn.init.normal_(router.score.weight, std=config.init_std)
    return router


def in_float32(x: Tensor) -> AbstractContextManager[object]:
    """Return a context in which operators on `x` compute in float32, also under autocast."""
    device = "cpu" if x.is_meta else x.device.type  # meta tensors have no autocast
    # Autocast is only turned off if it is on, because turning it off would split a traced graph.
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()


def hidden_width(channels: int, config: RouterConfig) -> int:
    """Return the number of hidden channels between a router's two layers."""
    return max(channels // config.reduction, config.min_hidden)


def shrink(x: Tensor, pool: int) -> Tensor:
    """Average the map over squares of `pool` × `pool` cells, or return it unchanged if H or W <= `pool`.

    Cells left over at the right and the bottom are ignored. The models that `convert` imports do the same.
    """
    if x.shape[2] <= pool or x.shape[3] <= pool:
        return x
    return functional.avg_pool2d(x, pool)


def whole_pool(height: int, width: int, most: int) -> int:
    """Return the largest pool size up to `most` that divides height and width, so that no cell is ignored."""
    return max(side for side in range(1, most + 1) if height % side == 0 and width % side == 0)
