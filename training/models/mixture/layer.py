"""The mixture layer: a router, its experts, and their weighted sum."""

import math
from contextlib import nullcontext
from typing import Literal

import torch
from torch import Tensor, nn

from training.config import MixtureConfig
from training.models.layers import ConvBlock, batch_norm
from training.models.mixture.dispatch import (
    Conditional,
    Gathered,
    run_conditional,
    run_dense,
    run_grouped,
)
from training.models.mixture.experts import build_experts
from training.models.mixture.gathered import run_gathered
from training.models.mixture.router import build_router
from training.models.mixture.routing import Routing, RoutingControls, choose_experts

Dispatch = Literal["dense", "grouped"] | Conditional | Gathered


class MixtureLayer(nn.Module):
    """Experts chosen for each image, summed by weight; beside them, if configured, one that always runs.

    Args:
        experts: to be chosen from; None builds those of the configuration, which keep the shape of the map.
        c_out: channels that the experts answer with; None: as many as they are given.

    Source: ES-MoE, arXiv:2512.23273, section 3.
    """

    def __init__(
        self,
        channels: int,
        config: MixtureConfig,
        *,
        experts: nn.ModuleList | None = None,
        c_out: int | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.channels = channels
        self.c_out = c_out or channels
        self.router = build_router(channels, config.num_experts, config.router)
        # Its logarithm is learned, so that no step can turn the order of the experts round.
        log_temperature = torch.tensor(math.log(config.router.temperature))
        self.log_temperature = nn.Parameter(log_temperature) if config.router.learn_temperature else None
        self.experts = experts or build_experts(channels, config)
        self.shared = None
        if config.shared_kernel is not None:
            self.shared = ConvBlock(channels, channels, config.shared_kernel, norm=config.norm)
        self.bn = batch_norm(self.c_out) if config.activate else nn.Identity()
        self.act = nn.SiLU(inplace=True) if config.activate else nn.Identity()

    def forward(
        self, x: Tensor, controls: RoutingControls, dispatch: Dispatch | None = None
    ) -> tuple[Tensor, Routing]:
        """Map (B, C, H, W) to (B, c_out, H, W); returns the routing as well. dispatch None: as it trains."""
        routing = choose_experts(self.score(x), controls, self.config.gate_epsilon)
        match dispatch or self.config.train_dispatch:
            case "dense":
                total = run_dense(self.experts, x, routing.gate)
            case "grouped":
                total = run_grouped(self.experts, x, routing.gate, self.c_out)
            case Conditional() as how:
                total = run_conditional(self.experts, x, routing.gate, self.c_out, how)
            case Gathered(slots):
                total = run_gathered(self.experts, x, routing.gate, min(slots, len(self.experts)))
        total = self.act(self.bn(total))
        if self.shared is not None:
            total = total + self.shared(x)
        return (total + x if self.config.residual else total), routing

    def score(self, x: Tensor) -> Tensor:
        """Return logits (B, E), float32, over the temperature; with noise in training if so configured."""
        settings = self.config.router
        device = "cpu" if x.is_meta else x.device.type  # shapes alone have no precision to switch
        # Only where there is one to switch off: a tracer would cut the graph at it.
        full = torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()
        with full:
            logits = self.router(x.float())
            if self.training and settings.noise:
                logits = logits + settings.noise * torch.randn_like(logits)
            if self.log_temperature is not None:
                return logits / self.log_temperature.exp()
            return logits if settings.temperature == 1 else logits / settings.temperature
