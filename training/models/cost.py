"""Counts a model's floating-point operations for one image, from the operators that a forward pass runs."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from training.models.network import Network


@dataclass(frozen=True)
class Cost:
    """The GFLOPs that a model needs for one image.

    Each multiply-add in a convolution or a linear layer counts as 2 operations. As in published tables, batch
    norm and the matrix products of attention are not counted.
    """

    dense: float  # total with all experts
    # Of each expert of a mixture layer, by the layer's name; zeros for dynamic experts, which run as one.
    experts: dict[str, tuple[float, ...]]

    @property
    def fixed(self) -> float:
        """Return the GFLOPs that every image needs: all except those of the experts that routers choose."""
        return self.dense - sum(sum(costs) for costs in self.experts.values())

    def at_top_k(self, top_k: int) -> float:
        """Return the GFLOPs for an image that runs the `top_k` most expensive experts in each layer."""
        return self.fixed + sum(sum(sorted(costs, reverse=True)[:top_k]) for costs in self.experts.values())


_COUNTED = (torch.ops.aten.convolution, torch.ops.aten.addmm, torch.ops.aten.mm)


def _gflops(run: Callable[[torch.Tensor], object], x: torch.Tensor) -> float:
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        run(x)
    by_operator = counter.get_flop_counts()["Global"]
    return sum(by_operator.get(operator, 0) for operator in _COUNTED) / 1e9


def measure_cost(model: Network) -> Cost:
    """Return the cost of a model for one image of its input size."""
    was_training = model.training
    model.eval()
    (height, width), device = model.config.input_hw, model.device
    images = torch.zeros(1, height, width, 3, dtype=torch.uint8, device=device)
    dense = _gflops(lambda x: model(x, dispatch="dense"), images)
    experts = {}
    for name, layer in model.mixture_layers().items():
        if layer.config.expert == "dynamic":  # the fixed cost has the expert that runs, and the averaging
            experts[name] = (0.0,) * len(layer.experts)
            if model.config.paths is not None:  # averaged once for each path, not for each image
                dense -= 2 * sum(weight.numel() for weight in layer.experts.parameters()) / 1e9
            continue
        stride = 2 ** int(name[-1])  # backbone.p4 runs at stride 16
        x = torch.zeros(1, layer.channels, height // stride, width // stride, device=device)
        experts[name] = tuple(_gflops(expert, x) for expert in layer.experts)
    model.train(was_training)
    return Cost(dense, experts)
