"""Convert a network to half precision: float16 for speed on GPUs, float32 where experts are chosen.

TensorRT computes every tensor in the type that the ONNX file states. This module sets these types in the
network, instead of using the converters of onnxconverter-common and ONNX Runtime. Such a converter cannot
tell a router from other layers: it would have to find every float32 part by node names, and add casts to
each node.

The effect of half precision is measured in PyTorch, where the same network rounds every feature map to
float16. OpenVINO on a CPU computes float16 graphs in float32. A run in OpenVINO therefore shows that the file
computes the same as the network, but does not show the effect of rounding.
"""

from itertools import chain

import torch
from torch import Tensor, nn

from training.export.graph.export_graph import fold_batch_norm
from training.models.network import Network

# B batch · C channels · H, W feature-map size


class ToHalf(nn.Module):
    """Casts images to float16 before the first convolution."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x rounded to float16."""
        return x.half()


class InFloat32(nn.Module):
    """Runs a normalisation layer in float32, because sums of squares overflow float16.

    Its input and its output are float16."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape and type."""
        normed: Tensor = self.norm(x.float())
        return normed.to(x.dtype)


def half_precision(model: Network) -> Network:
    """Return a copy of the model with folded batch norm, and with convolutions and activations in float16.

    The following parts stay float32: routers and gates, norms that cannot be folded, the distributions of
    box sides, the boxes, the sigmoid or softmax of scores, and the selection of candidates by these scores.
    Inputs and outputs keep their types.
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
    kept |= {id(buffer) for buffer in halved.buffers(recurse=False)}  # centres of a detector's anchors
    for tensor in chain(halved.parameters(), halved.buffers()):
        if id(tensor) not in kept and tensor.is_floating_point():
            tensor.data = tensor.data.to(torch.float16)
    for module in list(halved.modules()):
        for name, child in module.named_children():
            if child in norms:
                setattr(module, name, InFloat32(child))
    halved.backbone.stem = nn.Sequential(ToHalf(), halved.backbone.stem)  # type: ignore[assignment]  # casts first
    return halved
