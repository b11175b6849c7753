"""The mixture layer, which consists of a router and experts, and returns the experts' weighted sum."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from training.config import MixtureConfig, PathConfig
from training.models.layers import ConvBlock, batch_norm
from training.models.mixture.dispatch import Conditional, Gathered, run_conditional, run_dense, run_grouped
from training.models.mixture.dynamic import DynamicExpert
from training.models.mixture.experts import build_experts
from training.models.mixture.gathered import run_gathered
from training.models.mixture.path import PathScores
from training.models.mixture.router import build_router, in_float32
from training.models.mixture.routing import Routing, RoutingControls, choose_experts

Dispatch = Literal["dense", "grouped"] | Conditional | Gathered


class MixtureLayer(nn.Module):
    """A router that chooses experts for each image, and the weighted sum of the chosen experts' outputs.

    If configured, the output of a shared expert that always runs is added to the sum.

    Args:
        experts: the experts; None: build the configured experts, which keep the shape of the map.
        c_out: number of channels of the experts' output; None: the same as `channels`.
        paths: the network's paths, whose scores take the place of a router; None: the layer has a router.

    Source: ES-MoE, arXiv:2512.23273, section 3.
    """

    def __init__(
        self,
        channels: int,
        config: MixtureConfig,
        *,
        experts: nn.ModuleList | None = None,
        c_out: int | None = None,
        paths: PathConfig | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.channels = channels
        self.c_out = c_out or channels
        self.router: nn.Module
        if paths is None:
            self.router = build_router(channels, config.num_experts, config.router)
        else:
            self.router = PathScores(config.num_experts, paths)
        # The logarithm is learned, so the temperature stays positive and cannot reverse the order of experts.
        log_temperature = torch.tensor(math.log(config.router.temperature))
        self.log_temperature = nn.Parameter(log_temperature) if config.router.learn_temperature else None
        self.experts = experts or build_experts(channels, config)
        self.dynamic = None
        if experts is None and config.expert == "dynamic":
            self.dynamic = DynamicExpert(channels, config)
        self.shared = None
        if config.shared_kernel is not None:
            self.shared = ConvBlock(channels, channels, config.shared_kernel, norm=config.norm)
        self.bn = batch_norm(self.c_out) if config.activate else nn.Identity()
        self.act = nn.SiLU(inplace=True) if config.activate else nn.Identity()

    def forward(
        self, x: Tensor, controls: RoutingControls, dispatch: Dispatch | None = None
    ) -> tuple[Tensor, Routing]:
        """Return the output (B, c_out, H, W) for x (B, C, H, W), and the routing.

        `dispatch` names the way in which the experts are computed; dispatch.py describes the ways. If
        `dispatch` is None, the configuration's train_dispatch is used.
        """
        logits = self.score(x if controls.path is None else controls.path)
        routing = choose_experts(logits, controls, self.config.gate_epsilon)
        match dispatch or self.config.train_dispatch:
            case _ if self.dynamic is not None:  # the only way for dynamic experts, which all take part
                routing = routing._replace(gate=routing.probs)
                total = self.dynamic(self.experts, x, routing.gate)
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
        """Return the router's logits (B, E), float32, divided by the temperature.

        `x` is the layer's feature map or, in a network with paths, the weights of the paths.
        In training, the configured noise is added before the division.
        """
        settings = self.config.router
        with in_float32(x):
            logits = self.router(x.float())
            if self.training and settings.noise:
                logits = logits + settings.noise * torch.randn_like(logits)
            if self.log_temperature is not None:
                return logits / self.log_temperature.exp()
            return logits if settings.temperature == 1 else logits / settings.temperature
