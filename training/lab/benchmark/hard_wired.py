"""The bound on what skipping experts can gain: a model with only the experts that were chosen for one image.

This model chooses and skips nothing at run time. So its experts cost exactly what the chosen experts cost.
For that one image, it predicts the same as the whole model. For other images, its predictions can differ.
"""

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.models.detector import Detector
from training.models.mixture.cut import cut_experts
from training.models.mixture.layer import Dispatch, MixtureLayer
from training.models.mixture.routing import Routing, RoutingControls


def chosen_experts(model: Detector, canvas: NDArray[np.uint8], top_k: int) -> dict[str, tuple[int, ...]]:
    """Return, for each mixture layer, the experts that run for a model input (H, W, 3) at `top_k`.

    No weight threshold is applied.
    """
    with torch.inference_mode():
        predictions = model(torch.from_numpy(canvas)[None], RoutingControls(top_k), "dense")
    return {
        name: tuple(int(expert) for expert in (routing.gate[0] > 0).nonzero().flatten())
        for name, routing in predictions.routings.items()
    }


def hard_wire(model: Detector, kept: Mapping[str, Sequence[int]]) -> Detector:
    """Return a copy of the model in which each mixture layer has only its experts in `kept`.

    The caller must run the copy with a top_k that equals the number of experts that a layer keeps. If `kept`
    has no expert for a layer, only the layer's shared expert remains.

    Raises:
        KeyError: a mixture layer of the model is not in `kept`.
        ValueError: a layer keeps no expert and has no shared expert.
    """
    wired = copy.deepcopy(model).eval()
    for name, layer in wired.mixture_layers().items():
        if kept[name]:
            cut_experts(layer, kept[name])
        else:
            part, place = name.split(".")
            mixtures = wired.get_submodule(part).mixtures
            assert isinstance(mixtures, nn.ModuleDict)
            mixtures[place] = SharedAlone(layer)
    return wired


class SharedAlone(MixtureLayer):
    """A mixture layer with only its shared expert.

    Its routing consists of zeros, as if the layer had one routed expert that never runs.
    """

    def __init__(self, layer: MixtureLayer) -> None:
        if layer.shared is None:
            raise ValueError("a layer without a shared expert has to keep one of its experts")
        nn.Module.__init__(self)
        self.config, self.channels, self.c_out = layer.config, layer.channels, layer.c_out
        self.experts = nn.ModuleList()
        self.shared = layer.shared
        self.bn, self.act = layer.bn, layer.act

    def forward(
        self, x: Tensor, controls: RoutingControls, dispatch: Dispatch | None = None
    ) -> tuple[Tensor, Routing]:
        """Return the layer's output without routed experts, (B, C, H, W), and a routing of zeros."""
        assert self.shared is not None
        total = self.shared(x)
        if self.config.activate:
            total = total + self.act(self.bn(x.new_zeros(1, self.c_out, 1, 1)))
        none = x.new_zeros(len(x), 1)
        return (total + x if self.config.residual else total), Routing(none, none, none)
