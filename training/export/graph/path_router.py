"""The graph of a path router, which returns the probability of each path for each image."""

import copy

import onnx
from torch import Tensor, nn

from training.config import ModelConfig
from training.export.contract.spec import GraphSpec
from training.export.contract.tensors import IMAGES, GraphContract
from training.export.graph.export_graph import fold_blocks, graph_contract, path_output
from training.export.graph.onnx_file import trace_static
from training.models.network import Network

# B batch · P paths


class PathGraph(nn.Module):
    """The path router of a network, with all that lies between the images and its probabilities.

    It computes in float32 in artifacts of every precision, because rounding could move an image to another
    path.
    """

    def __init__(self, model: Network) -> None:
        super().__init__()
        assert model.path_router is not None
        self.router = copy.deepcopy(model.path_router).eval()
        fold_blocks(self.router)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, H, W, 3) uint8 RGB to probabilities (B, P) float32."""
        logits: Tensor = self.router((images.float() / 255).permute(0, 3, 1, 2))
        return logits.softmax(dim=-1)


def router_contract(config: ModelConfig, spec: GraphSpec) -> GraphContract:
    """Return the inputs and outputs of the router's graph."""
    images = [each for each in graph_contract(config, spec).inputs if each.role == IMAGES]
    return GraphContract(tuple(spec.batches), tuple(images), (path_output(config),))


def router_to_onnx(model: Network, spec: GraphSpec) -> onnx.ModelProto:
    """Return the router's graph as ONNX, for the batch sizes of `spec`.

    Raises:
        ExportError: the graph contains an operator that an engine of its target may not support.
    """
    return trace_static(PathGraph(model), model.config, router_contract(model.config, spec), spec)
