"""The network as it is exported: it takes uint8 images and returns named output tensors."""

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from training.config import ModelConfig
from training.export.contract.controls import control_rows
from training.export.contract.precision import TOLERANCES, Tolerance
from training.export.contract.spec import GraphSpec
from training.export.contract.tensors import (
    GATES,
    IMAGES,
    PATH_PROBS,
    ROUTER_PROBS,
    Arrays,
    GraphContract,
    Input,
    Output,
)
from training.export.tasks.tasks import export_task
from training.models.layers import ConvBlock
from training.models.mixture.experts import DepthwiseSeparableExpert
from training.models.mixture.router import SpatialRouter
from training.models.mixture.routing import Routing, RoutingControls
from training.models.network import Network

# B batch · L mixture layers · E experts of the widest layer


def fold_batch_norm(model: Network) -> Network:
    """Return a copy in which every batch norm after a convolution is merged into the convolution.

    The norm after the weighted sum of experts is not merged, because activations are between the experts'
    last convolutions and this norm. Group norm is not merged either, because it computes its statistics from
    each image.
    """
    folded = copy.deepcopy(model).eval()
    fold_blocks(folded)
    return folded


def fold_blocks(part: nn.Module) -> None:
    """Merge the batch norms of a network or a part of it, in place, as fold_batch_norm does."""
    for module in part.modules():
        if isinstance(module, ConvBlock | DepthwiseSeparableExpert) and isinstance(module.bn, nn.BatchNorm2d):
            module.conv = fuse_conv_bn_eval(module.conv, module.bn)
            module.bn = nn.Identity()
        if isinstance(module, SpatialRouter) and isinstance(module.norm, nn.BatchNorm2d):
            module.score = fuse_conv_bn_eval(module.score, module.norm)
            module.norm = nn.Identity()  # type: ignore[assignment]  # removed on purpose


def stack_routings(routings: dict[str, Routing]) -> tuple[Tensor, Tensor]:
    """Return the gates and the router probabilities, (B, L, E) each; missing experts of a layer are 0."""
    widest = max(routing.gate.shape[1] for routing in routings.values())

    def stack(rows: list[Tensor]) -> Tensor:
        return torch.stack([nn.functional.pad(row, (0, widest - row.shape[1])) for row in rows], dim=1)

    return stack([r.gate for r in routings.values()]), stack([r.probs for r in routings.values()])


class ExportGraph(nn.Module):
    """The module that is traced; graph_contract describes its inputs and outputs."""

    def __init__(self, model: Network, spec: GraphSpec) -> None:
        super().__init__()
        self.model = model
        self.spec = spec
        self.task = export_task(model.config)

    def forward(self, images: Tensor, *controls: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs in the order of graph_contract.

        Args:
            images: (B, H, W, 3) uint8 RGB.
            controls: (B, 1) each, the first fields of RoutingControls; none without mixture layers.
        """
        given: dict[str, Any] = dict(zip(RoutingControls._fields, controls, strict=False))
        asked = self.model.default_controls()._replace(**given)
        predictions = self.model(images, asked, dispatch=self.spec.dispatch(self.model.config))
        outputs = self.task.outputs(self.model, predictions, self.spec)
        if predictions.routings:
            outputs += stack_routings(predictions.routings)
        return outputs if predictions.path is None else (*outputs, predictions.path.probs)


def graph_contract(
    config: ModelConfig, spec: GraphSpec, tolerance: Tolerance = TOLERANCES["f32"]
) -> GraphContract:
    """Return the inputs and outputs of a graph of the form `spec`, with the tolerance of each output.

    For a model with paths, these are the inputs and outputs of all of its graphs together. A server gets the
    outputs about routing from the router's graph and from the manifest, not from the graphs of the paths.
    """
    task = export_task(config)
    images = Input(IMAGES, "u8", (*config.input_hw, 3), IMAGES, {"resize": task.resize})
    outputs = task.output_rows(config, spec, tolerance)
    if config.mixtures:
        widest = max(mixture.num_experts for mixture in config.mixtures.values())
        sizes = (len(config.mixtures), widest)
        allowed = tolerance.gates if config.paths is None else TOLERANCES["f32"].gates
        outputs += tuple(Output(r, "f32", sizes, r, allowed) for r in (GATES, ROUTER_PROBS))
    if config.paths is not None:
        outputs += (path_output(config),)
    return GraphContract(tuple(spec.batches), (images, *control_rows(config, spec)), outputs)


def path_output(config: ModelConfig) -> Output:
    """Return the output of the probabilities of the paths, which are float32 in every precision."""
    assert config.paths is not None
    return Output(PATH_PROBS, "f32", (config.paths.count,), PATH_PROBS, TOLERANCES["f32"].gates)


class Eager:
    """Runs the checkpoint's network in PyTorch with every expert, as the reference for exported graphs."""

    def __init__(self, model: Network, spec: GraphSpec) -> None:
        dense = GraphSpec("dense", spec.selection, spec.candidates)
        self.contract = graph_contract(model.config, dense)
        self._graph = ExportGraph(model, dense)

    @torch.inference_mode()
    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Run the network once and return the outputs; inputs and outputs are by name."""
        outputs = self._graph(*(torch.from_numpy(inputs[each.name]) for each in self.contract.inputs))
        names = [each.name for each in self.contract.outputs]
        return {name: output.numpy() for name, output in zip(names, outputs, strict=True)}

    def answer(self, canvas: NDArray[np.uint8], controls: RoutingControls) -> dict[str, NDArray[Any]]:
        """Return the outputs by name for one model input (H, W, 3)."""
        return self.run(self.contract.feed([canvas], [controls]))
