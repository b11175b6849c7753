"""Turn a network with paths into ordinary networks, one for each route: a path at a top_k.

On a route, every layer runs the same experts with the same weights for all images. So the network of a route
holds only these experts, and needs neither routers nor run-time controls.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from training.export.contract.spec import route_top_ks
from training.export.graph.export_graph import fold_batch_norm, stack_routings
from training.export.graph.unrouted import replace_mixtures
from training.models.mixture.dynamic import KernelExpert, mix_kernels
from training.models.mixture.experts import SimpleExpert
from training.models.mixture.gathered import can_gather
from training.models.mixture.layer import MixtureLayer
from training.models.mixture.routing import RoutingControls
from training.models.network import Network

# P paths · L mixture layers · E experts of the widest layer · K experts of a route in one layer
# B batch · C channels · D hidden channels · k kernel · H, W feature-map size


@dataclass(frozen=True, eq=False)
class Route:
    """A path at a top_k: the experts that run in each layer, for every image of the path."""

    path: int
    top_k: int
    gates: NDArray[np.float32]  # (L, E) weight of each expert; 0 if it does not run, or if a layer lacks it
    probs: NDArray[np.float32]  # (L, E) softmax of the path's scores over the experts of the layer

    @property
    def name(self) -> str:
        """Return the name of the route's graph."""
        return f"path{self.path}-k{self.top_k}"

    @property
    def key(self) -> tuple[int, int]:
        """Return the path and the top_k."""
        return self.path, self.top_k


def one_hot(path: int, count: int) -> Tensor:
    """Return the weights (1, P) of `count` paths with which an image takes the path number `path`."""
    return functional.one_hot(torch.tensor([path]), count).float()


@torch.no_grad()
def routes_of(model: Network) -> list[Route]:
    """Return every route of a network with paths, path by path, in ascending order of top_k."""
    assert model.config.paths is not None
    top_ks = route_top_ks(model.config)
    tables = {top_k: stack_routings(model.path_table(RoutingControls(top_k))) for top_k in top_ks}
    return [
        Route(path, top_k, gates[path].numpy(), probs[path].numpy())
        for path in range(model.config.paths.count)
        for top_k, (gates, probs) in tables.items()
    ]


def fixed_network(model: Network, route: Route) -> Network:
    """Return a network without routers that computes what `model` computes for images on a route.

    Batch norms are folded into the convolutions. The result shares no weights with `model`.
    """
    fixed = fold_batch_norm(model)
    gates = dict(zip(model.mixture_layers(), torch.from_numpy(route.gates), strict=True))  # (E,) each
    replace_mixtures(fixed, lambda place, layer: FixedExperts(layer, gates[place]))
    return fixed.eval()


class FixedExperts(nn.Module):
    """A mixture layer in which the same experts run with the same weights for every image.

    Simple experts of one shape become one wide expert. Dynamic experts become one expert, whose kernels are
    the weighted mean of theirs. The gates and the batch norm after the sum are folded into a wide expert. The
    shared expert cannot be folded in, because it ends in an activation. The residual cannot be folded in
    either, because the hidden channels of an expert do not hold the input itself.

    Args:
        layer: the mixture layer, whose batch norms are folded.
        gate: weights of the experts, (E,) or longer; the experts with a weight of 0 are left out.
    """

    def __init__(self, layer: MixtureLayer, gate: Tensor) -> None:
        super().__init__()
        chosen = [index for index in range(len(layer.experts)) if gate[index] > 0]
        experts, weights = nn.ModuleList(layer.experts[index] for index in chosen), gate[chosen]
        self.bn, self.act = layer.bn, layer.act
        if layer.dynamic is not None:
            self.experts: nn.Module = _averaged_expert(layer, gate)
        elif can_gather(experts) and isinstance(experts[0], SimpleExpert):
            wide = WideExpert([each for each in experts if isinstance(each, SimpleExpert)], weights).eval()
            if isinstance(self.bn, nn.BatchNorm2d):
                wide.project = fuse_conv_bn_eval(wide.project, self.bn)
                self.bn = nn.Identity()
            self.experts = wide
        else:
            self.experts = WeightedExperts(experts, weights)
        self.shared = layer.shared
        self.residual = layer.config.residual

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        total = self.act(self.bn(self.experts(x)))
        if self.shared is not None:
            total = total + self.shared(x)
        return total + x if self.residual else total


def _averaged_expert(layer: MixtureLayer, gate: Tensor) -> nn.Module:
    """Return one expert that computes what a layer's dynamic experts compute with the weights `gate`."""
    assert layer.dynamic is not None
    kernels = [expert for expert in layer.experts if isinstance(expert, KernelExpert)]
    weights = gate[None, : len(kernels)]
    mixed = layer.dynamic
    return nn.Sequential(
        _fixed_conv(mix_kernels([each.expand.weight for each in kernels], weights)[0], mixed.expand_norm),
        mixed.act,
        _fixed_conv(mix_kernels([each.project.weight for each in kernels], weights)[0], mixed.project_norm),
    )


def _fixed_conv(kernel: Tensor, norm: nn.Module) -> nn.Module:
    """Return a convolution with a kernel (D, C, k, k) and its norm; a batch norm is merged into it."""
    c_out, c_in, size, _ = kernel.shape
    conv = nn.Conv2d(c_in, c_out, size, padding=size // 2, bias=False).eval()
    with torch.no_grad():
        conv.weight.copy_(kernel)
    if isinstance(norm, nn.BatchNorm2d):
        return fuse_conv_bn_eval(conv, norm)
    return nn.Sequential(conv, norm)


class WideExpert(nn.Module):
    """The weighted sum of K simple experts as two convolutions with K times the hidden channels.

    The second convolution sums over the hidden channels of all experts, so it holds the weights of the sum.
    """

    def __init__(self, experts: Sequence[SimpleExpert], weights: Tensor) -> None:
        super().__init__()
        first, second = [each.expand.conv for each in experts], [each.project.conv for each in experts]
        hidden, channels, kernel, _ = first[0].weight.shape
        self.expand = nn.Conv2d(channels, len(experts) * hidden, kernel, padding=kernel // 2)
        self.act = nn.SiLU(inplace=True)
        self.project = nn.Conv2d(len(experts) * hidden, channels, kernel, padding=kernel // 2)
        with torch.no_grad():
            self.expand.weight.copy_(torch.cat([conv.weight for conv in first]))  # (K·D, C, k, k)
            _bias(self.expand).copy_(torch.cat([_bias(conv) for conv in first]))
            scaled = [weight * conv.weight for weight, conv in zip(weights, second, strict=True)]
            self.project.weight.copy_(torch.cat(scaled, dim=1))  # (C, K·D, k, k)
            biases = [weight * _bias(conv) for weight, conv in zip(weights, second, strict=True)]
            _bias(self.project).copy_(torch.stack(biases).sum(dim=0))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        return self.project(self.act(self.expand(x)))


class WeightedExperts(nn.Module):
    """The weighted sum of the experts of a route, of any kind."""

    weights: Tensor

    def __init__(self, experts: nn.ModuleList, weights: Tensor) -> None:
        super().__init__()
        self.experts = experts
        self.register_buffer("weights", weights)  # (K,)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        if len(self.experts) == 1 and self.weights[0] == 1:
            return self.experts[0](x)
        weights = self.weights.to(x.dtype)
        total = weights[0] * self.experts[0](x)
        for weight, expert in zip(weights[1:], self.experts[1:], strict=True):
            total = total + weight * expert(x)
        return total


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None  # folding batch norm adds a bias
    return conv.bias
