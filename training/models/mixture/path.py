"""Choose one path for each image with a router, before the network runs.

A path has a row of scores in every mixture layer. These scores take the place of the logits of the layer's
own router, so a path and a top_k say which experts run, and with which weights, for all images of the path.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.config import PathConfig, RouterConfig
from training.models.layers import ConvBlock
from training.models.mixture.router import MomentsRouter
from training.models.mixture.routing import Routing, RoutingControls, choose_experts

# B batch · P paths · E experts · H, W size of the image

SCORES_STD = 0.5  # of a path's initial scores, so that paths differ from the start


class PathRouter(nn.Module):
    """A router that scores paths from a thumbnail, by two convolutions and the moments of their channels."""

    def __init__(self, config: PathConfig) -> None:
        super().__init__()
        self.pool, self.noise = config.pool, config.noise
        width = config.width
        self.convs = nn.Sequential(ConvBlock(3, width, 3, 2), ConvBlock(width, 2 * width, 3, 2))
        self.moments = MomentsRouter(2 * width, config.count, RouterConfig(min_hidden=config.hidden))

    def forward(self, pixels: Tensor) -> Tensor:
        """Map images (B, 3, H, W), 0..1, to logits (B, P); in training, noise is added to the logits."""
        logits = self.score(functional.avg_pool2d(pixels, self.pool))
        if self.training and self.noise:
            logits = logits + self.noise * torch.randn_like(logits)
        return logits

    def score(self, thumbnail: Tensor) -> Tensor:
        """Map thumbnails (B, 3, H / pool, W / pool), 0..1, to logits (B, P) without noise."""
        logits: Tensor = self.moments(self.convs(thumbnail))
        return logits


class PathScores(nn.Module):
    """The scores of a mixture layer's experts, one row for each path; they replace a router."""

    def __init__(self, num_experts: int, config: PathConfig) -> None:
        super().__init__()
        self.score = nn.Linear(config.count, num_experts, bias=False)
        nn.init.normal_(self.score.weight, std=SCORES_STD)

    def forward(self, path: Tensor) -> Tensor:
        """Map the weights of the paths (B, P) to logits (B, E)."""
        return self.score(path)


def choose_path(logits: Tensor, softness: float | None = None) -> Routing:
    """Return the path of each image, as a routing over paths.

    Args:
        logits: scores of the router (B, P).
        softness: None for inference. In training, the weight of a path is its probability times the softness;
            the best path also gets the rest of the weight, with the gradient of the probabilities
            (straight-through, arXiv:1308.3432).
    """
    best = choose_experts(logits, RoutingControls(1))
    if softness is None:
        return best
    through = best.gate.detach() + best.probs - best.probs.detach()
    return best._replace(gate=softness * best.probs + (1 - softness) * through)
