"""Routers: a feature map in, a score for each expert out, one image at a time."""

import torch
from torch import Tensor, nn


class PooledRouter(nn.Module):
    """Scores experts from the average of the map. Source: arXiv:2512.23273, section 3.3."""

    def __init__(self, channels: int, num_experts: int, *, reduction: int, min_hidden: int) -> None:
        super().__init__()
        hidden = max(channels // reduction, min_hidden)
        self.hidden = nn.Linear(channels, hidden)
        self.score = nn.Linear(hidden, num_experts)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to logits (B, E), in float32: half precision here would move experts."""
        with torch.autocast(x.device.type, enabled=False):
            pooled = x.float().mean(dim=(2, 3))
            return self.score(nn.functional.silu(self.hidden(pooled)))
