"""A network in half precision: what GPUs multiply fast in float16, what decides in float32.

TensorRT builds strongly typed: it computes every tensor in the type that it has in the file, so the types
must be right there. They are chosen in the network, not by rewriting its ONNX file as the converters of
onnxconverter-common and ONNX Runtime do: those know operators but no routers, so what stays float32 would
have to be found again among names of nodes, and each node found gets casts of its own. Here every cast
stands where the network's code has one, weights are rounded once, and the same model runs in PyTorch, where
what half precision does to it can be measured.
"""

from itertools import chain

import torch
from torch import Tensor, nn

from training.export.contract.spec import GraphSpec
from training.export.contract.tensors import Arrays
from training.export.graph.export_graph import ExportGraph, fold_batch_norm, graph_contract, run_eager
from training.models.network import Network

# B batch · C channels · H, W feature-map size


class EagerHalf:
    """The half-precision model run by PyTorch, which rounds every map, as an engine to compare with.

    OpenVINO on a CPU computes float16 graphs in float32: it shows that the file says what the network does,
    and nothing of what float16 does to the numbers.
    """

    def __init__(self, model: Network, spec: GraphSpec) -> None:
        dense = GraphSpec("dense", spec.selection, spec.candidates)
        self._contract = graph_contract(model.config, dense)
        self._graph = ExportGraph(half_precision(model), dense)

    def run(self, inputs: Arrays) -> Arrays:
        """Return outputs by name for inputs by name."""
        return run_eager(self._graph, self._contract, inputs)


class ToHalf(nn.Module):
    """Where float16 begins."""

    def forward(self, x: Tensor) -> Tensor:
        """The same values, rounded to float16."""
        return x.half()


class InFloat32(nn.Module):
    """A norm between float16 maps: squares of maps, and their sums, leave the range of float16."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape and type."""
        normed: Tensor = self.norm(x.float())
        return normed.to(x.dtype)


def half_precision(model: Network) -> Network:
    """A copy in evaluation mode with batch norm folded, whose convolutions and activations are float16.

    Float32 stay: routers, the softmax over experts and all that makes gates of it, norms that do not fold,
    the distributions of box sides and the boxes themselves, and the sigmoid or softmax of scores, so that
    candidates are chosen in float32 as well. Images go in and outputs come out as they do in float32.
    """
    halved = fold_batch_norm(model)  # in float32, so that weights are rounded only once
    layers = halved.mixture_layers().values()
    routers = [module for layer in layers for module in layer.router.modules()]
    norms = [
        module
        for module in halved.modules()
        if isinstance(module, nn.BatchNorm2d | nn.GroupNorm) and module not in routers
    ]
    kept = {
        id(tensor)
        for module in (*routers, *norms)
        for tensor in chain(module.parameters(recurse=False), module.buffers(recurse=False))
    }
    kept |= {id(layer.log_temperature) for layer in layers}
    kept |= {id(buffer) for buffer in halved.buffers(recurse=False)}  # places of a detector's anchors
    for tensor in chain(halved.parameters(), halved.buffers()):
        if id(tensor) not in kept and tensor.is_floating_point():
            tensor.data = tensor.data.to(torch.float16)
    for module in list(halved.modules()):
        for name, child in module.named_children():
            if child in norms:
                setattr(module, name, InFloat32(child))
    halved.backbone.stem = nn.Sequential(ToHalf(), halved.backbone.stem)  # type: ignore[assignment]  # casts first
    return halved
