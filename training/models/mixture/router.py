"""Routers: a feature map in, a score for each expert out, one image at a time.

In evaluation no score depends on the other images of a batch. All compute in float32, whatever the
precision around them: half precision here would move experts.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.config import RouterConfig
from training.models.layers import ConvBlock, batch_norm, group_norm

# B batch · C channels · E experts · H, W feature-map size


VARIANCE_EPS = 1e-6  # a square root has no slope at 0


class PooledRouter(nn.Module):
    """Scores experts from the average of the map. Source: arXiv:2512.23273, section 3.3."""

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
    """Scores experts from mean, deviation and maximum of each channel.

    A mean alone hardly tells a few small objects from none; the other two do.
    """

    def __init__(self, channels: int, num_experts: int, config: RouterConfig) -> None:
        super().__init__()
        self.hidden = nn.Linear(3 * channels, hidden_width(channels, config))
        self.score = nn.Linear(self.hidden.out_features, num_experts)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to logits (B, E)."""
        mean = x.mean(dim=(2, 3), keepdim=True)
        away = x - mean
        deviation = ((away * away).mean(dim=(2, 3)) + VARIANCE_EPS).sqrt()  # no power: engines may lack it
        moments = torch.cat([mean.flatten(1), deviation, x.amax(dim=(2, 3))], dim=1)  # (B, 3C)
        return self.score(functional.silu(self.hidden(moments)))


class SpatialRouter(nn.Module):
    """Looks at a shrunken map with a 3×3 filter, scores every cell, and averages the scores.

    With a larger `pool` this is the papers' efficient spatial router, with a smaller one their local router,
    which keeps more texture for small objects.
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
    """Scores experts from the channels alone: average, 1×1, norm, 1×1.

    Its norm is over all channels: batch norm of a single cell would need more than one image to train on.
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
    """Shrinks the map first, then a depthwise 3×3 and a narrow 1×1: next to no work even on large maps.

    The narrow map is normed as one group: norms of single channels would remove what tells images apart.
    Scores of cells are averaged before the softmax, so that one temperature acts on the image's scores.
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
    """Make the router of a configuration; its last weights are drawn anew if that says how."""
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


def hidden_width(channels: int, config: RouterConfig) -> int:
    """Return the width between a router's two layers."""
    return max(channels // config.reduction, config.min_hidden)


def shrink(x: Tensor, pool: int) -> Tensor:
    """Average squares of `pool` × `pool` cells; a map that is no larger than one square stays as it is.

    What is left over at the right and the bottom is not seen, as in the models whose weights can be imported.
    """
    if x.shape[2] <= pool or x.shape[3] <= pool:
        return x
    return functional.avg_pool2d(x, pool)


def whole_pool(height: int, width: int, most: int) -> int:
    """Return the largest square up to `most` that leaves no cell over: a router then sees the whole map."""
    return max(side for side in range(1, most + 1) if height % side == 0 and width % side == 0)
