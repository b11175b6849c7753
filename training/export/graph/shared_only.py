"""Remove the routed experts of a model: each mixture keeps only its shared expert, which always runs."""

import copy

import torch
from torch import Tensor, nn

from training.errors import ExportError
from training.export.graph.unrouted import replace_mixtures
from training.models.mixture.layer import MixtureLayer
from training.models.network import Network

# B batch · C channels · H, W feature-map size


class AlwaysRunning(nn.Module):
    """The part of a mixture layer that runs even if no routed expert does."""

    idle: Tensor | None

    def __init__(self, layer: MixtureLayer) -> None:
        super().__init__()
        self.shared = layer.shared
        self.residual = layer.config.residual
        idle = None
        if layer.config.activate:  # batch norm maps the empty sum of experts to other values than zero
            with torch.no_grad():
                idle = layer.act(layer.bn(torch.zeros(1, layer.c_out, 1, 1)))
        self.register_buffer("idle", idle)  # (1, C, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        assert self.shared is not None
        total = self.shared(x)
        if self.idle is not None:
            total = total + self.idle
        return total + x if self.residual else total


def without_routed_experts(model: Network) -> Network:
    """Return a copy of a model without routers and routed experts.

    The copy computes the same as the model at top_k 0. The copy has no mixture layers, and therefore neither
    run-time controls nor gates.

    Raises:
        ExportError: the model has no mixture, or a mixture has no shared expert.
    """
    layers = model.mixture_layers()
    bare = [place for place, layer in layers.items() if layer.shared is None]
    if bare or not layers:
        missing = f"{', '.join(bare)} of {model.config.variant}" if bare else model.config.variant
        raise ExportError(
            f"{missing}: there is no shared expert that could answer alone. Export with all experts, or "
            "train a variant with shared ones (modular, optimized, ultra or sparsight). Nothing was written."
        )
    bereft = copy.deepcopy(model).eval()
    replace_mixtures(bereft, lambda place, layer: AlwaysRunning(layer))
    return bereft
