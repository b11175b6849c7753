"""The mixture layer: a router, its experts, and their weighted sum."""

from typing import Literal

from torch import Tensor, nn

from training.config import MixtureConfig
from training.models.layers import batch_norm
from training.models.mixture.dispatch import run_conditional, run_dense, run_grouped
from training.models.mixture.experts import DepthwiseSeparableExpert
from training.models.mixture.router import PooledRouter
from training.models.mixture.routing import Routing, RoutingControls, choose_experts

Dispatch = Literal["dense", "grouped", "conditional"]


class MixtureLayer(nn.Module):
    """Experts chosen for each image, summed by weight, then normalised.

    Source: ES-MoE, arXiv:2512.23273, section 3.
    """

    def __init__(self, channels: int, config: MixtureConfig) -> None:
        super().__init__()
        self.router = PooledRouter(
            channels,
            config.num_experts,
            reduction=config.router_reduction,
            min_hidden=config.router_min_hidden,
        )
        self.experts = nn.ModuleList(DepthwiseSeparableExpert(channels, k) for k in config.kernel_sizes)
        self.bn = batch_norm(channels)
        self.act = nn.SiLU(inplace=True)

    def forward(self, x: Tensor, controls: RoutingControls, dispatch: Dispatch) -> tuple[Tensor, Routing]:
        """(B, C, H, W) to a map of the same shape, and the routing that made it."""
        routing = choose_experts(self.router(x), controls)
        match dispatch:
            case "dense":
                total = run_dense(self.experts, x, routing.gate)
            case "grouped":
                total = run_grouped(self.experts, x, routing.gate)
            case "conditional":
                total = run_conditional(self.experts, x, routing.gate)
        return self.act(self.bn(total)), routing
