"""A detector in half precision: what GPUs multiply fast in float16, what decides in float32.

TensorRT builds strongly typed: it computes every tensor in the type that it has in the file, so the types
must be right there. They are chosen in the network, not by rewriting its ONNX file as the converters of
onnxconverter-common and ONNX Runtime do: those know operators but no routers, so what stays float32 would
have to be found again among names of nodes, and each node found gets casts of its own. Here every cast
stands where the network's code has one, weights are rounded once, and the same model runs in PyTorch, where
what half precision does to it can be measured.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.export.graph.export_graph import ExportGraph, GraphSpec, fold_batch_norm
from training.models.detector import Detector
from training.models.mixture.routing import RoutingControls

# B batch · C channels · H, W feature-map size


class EagerHalf:
    """The half-precision model run by PyTorch, which rounds every map, as an engine to compare with.

    OpenVINO on a CPU computes float16 graphs in float32: it shows that the file says what the network does,
    and nothing of what float16 does to the numbers.
    """

    def __init__(self, model: Detector, spec: GraphSpec) -> None:
        names = spec.output_names(bool(model.mixture_layers()))
        self._names = names
        self._graph = ExportGraph(half_precision(model), GraphSpec("dense", spec.selection, spec.candidates))

    def run(self, canvas: NDArray[np.uint8], controls: RoutingControls) -> Mapping[str, NDArray[Any]]:
        """Outputs by name for one letterboxed image (H, W, 3)."""
        return self.run_batch([canvas], [controls])

    @torch.inference_mode()
    def run_batch(
        self, canvases: Sequence[NDArray[np.uint8]], controls: Sequence[RoutingControls]
    ) -> Mapping[str, NDArray[Any]]:
        """Outputs by name for letterboxed images (H, W, 3) with controls for each."""
        outputs = self._graph(
            torch.from_numpy(np.stack(canvases)),
            torch.tensor([[each.top_k] for each in controls]),
            torch.tensor([[each.weight_threshold] for each in controls], dtype=torch.float32),
        )
        return {name: output.numpy() for name, output in zip(self._names, outputs, strict=True)}


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


def half_precision(model: Detector) -> Detector:
    """A copy in evaluation mode with batch norm folded, whose convolutions and activations are float16.

    Float32 stay: routers, the softmax over experts and all that makes gates of it, norms that do not fold,
    the distributions of box sides and the boxes themselves, and the sigmoid of scores, so that candidates
    are chosen in float32 as well. Images go in and outputs come out as they do in float32.
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
    kept |= {id(halved.points), id(halved.strides)}
    for tensor in chain(halved.parameters(), halved.buffers()):
        if id(tensor) not in kept and tensor.is_floating_point():
            tensor.data = tensor.data.to(torch.float16)
    for module in list(halved.modules()):
        for name, child in module.named_children():
            if child in norms:
                setattr(module, name, InFloat32(child))
    halved.backbone.stem = nn.Sequential(ToHalf(), halved.backbone.stem)  # type: ignore[assignment]  # casts first
    return halved
