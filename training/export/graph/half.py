"""Convert a network to half precision: float16 where GPUs multiply fast, float32 where it decides.

TensorRT builds strongly typed: it computes every tensor in the tensor's type in the file, so the file must
hold the right types. They are chosen in the network. The converters of onnxconverter-common and ONNX Runtime
rewrite the ONNX file instead. They know operators but no routers: every part that stays float32 would have to
be found by node names, and each such node would get casts of its own.

Here the casts are those of the network's code, and weights are rounded once. The same model also runs in
PyTorch, which rounds every map: there the effect of half precision is measured. OpenVINO on a CPU computes
float16 graphs in float32. This shows that the file does what the network does, but not the effect of
rounding.
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
    """Runs a norm between float16 maps in float32: squares of maps, and their sums, overflow float16."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape and type."""
        normed: Tensor = self.norm(x.float())
        return normed.to(x.dtype)


def half_precision(model: Network) -> Network:
    """Return a copy with folded batch norm, whose convolutions and activations are float16.

    These stay float32: routers, the softmax over experts and every step from there to the gates, norms that
    do not fold, the distributions of box sides, the boxes, and the sigmoid or softmax of scores. So
    candidates are selected in float32 as well. Inputs and outputs have the same types as in float32.
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
