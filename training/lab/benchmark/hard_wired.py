"""The bound that skipping experts is held against: a model that has only the experts one image chose.

Nothing is chosen in it at run time and nothing is skipped, so it costs what the chosen experts cost and no
more. For that image it answers as the whole model does; for others it need not.
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
    """Return experts by layer that run for an image (H, W, 3), without a threshold, in ascending order."""
    with torch.inference_mode():
        predictions = model(torch.from_numpy(canvas)[None], RoutingControls(top_k), "dense")
    return {
        name: tuple(int(expert) for expert in (routing.gate[0] > 0).nonzero().flatten())
        for name, routing in predictions.routings.items()
    }


def hard_wire(model: Detector, kept: Mapping[str, Sequence[int]]) -> Detector:
    """Return a copy whose mixture layers hold only these experts, by name; run it with as many as it holds.

    A layer that keeps none is its shared expert alone.

    Raises:
        KeyError: a mixture layer of the model is not in kept.
        ValueError: nothing is kept of a layer that has no shared expert.
    """
    wired = copy.deepcopy(model).eval()
    for name, layer in wired.mixture_layers().items():
        rows = list(kept[name])
        if rows:
            cut_experts(layer, rows)
        else:
            room, place = name.split(".")
            mixtures = wired.get_submodule(room).mixtures
            assert isinstance(mixtures, nn.ModuleDict)
            mixtures[place] = SharedAlone(layer)
    return wired


class SharedAlone(MixtureLayer):
    """A mixture layer without experts to choose from; its routing is one expert that never runs."""

    def __init__(self, layer: MixtureLayer) -> None:
        if layer.shared is None:
            raise ValueError("a layer without a shared expert has to keep one of its experts")
        nn.Module.__init__(self)
        self.config = layer.config
        self.channels = layer.channels
        self.c_out = layer.c_out
        self.experts = nn.ModuleList()
        self.shared = layer.shared
        self.bn, self.act = layer.bn, layer.act

    def forward(
        self, x: Tensor, controls: RoutingControls, dispatch: Dispatch | None = None
    ) -> tuple[Tensor, Routing]:
        """Return x with what is always added, in its shape (B, C, H, W), and a routing of zeros."""
        assert self.shared is not None
        total = self.shared(x)
        if self.config.activate:
            total = total + self.act(self.bn(x.new_zeros(1, self.c_out, 1, 1)))
        none = x.new_zeros(len(x), 1)
        return (total + x if self.config.residual else total), Routing(none, none, none)
