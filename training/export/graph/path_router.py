"""The graph of a path router, which returns the probability of each path for each image."""

import copy

import onnx
import torch
from torch import Tensor, nn

from training.config import ModelConfig
from training.export.contract.spec import GraphSpec
from training.export.contract.tensors import IMAGES, GraphContract
from training.export.graph.export_graph import fold_blocks, graph_contract, path_output
from training.export.graph.onnx_file import trace_static
from training.models.network import Network

# B batch · P paths · H, W size of the images · s side of a square of pixels · h, w size of the thumbnail

CHANNELS = 3


class PathGraph(nn.Module):
    """The path router of a network, with all steps from the images to the probabilities of the paths.

    It computes in float32 in artifacts of every precision, because rounding could move an image to another
    path.
    """

    def __init__(self, model: Network) -> None:
        super().__init__()
        assert model.path_router is not None
        self.router = copy.deepcopy(model.path_router).eval()
        fold_blocks(self.router)
        self.thumbnail = Thumbnail(self.router.pool)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, H, W, 3) uint8 RGB to probabilities (B, P) float32."""
        logits: Tensor = self.router.score(self.thumbnail(images))
        return logits.softmax(dim=-1)


class Thumbnail(nn.Module):
    """The means of squares of pixels, computed in the order in which an image lies in memory.

    An average pool of maps (B, 3, H, W) gives the same result. But for a pool, engines first rearrange all
    pixels, which takes several times as long as the sums. Here, only the thumbnail is rearranged.

    Args:
        side: of a square, in pixels; a power of 2, so that every sum and mean of uint8 values is exact.
    """

    columns: Tensor

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side
        mean = torch.eye(CHANNELS).repeat(side, 1) / side
        self.register_buffer("columns", mean, persistent=False)  # (3s, 3): a mean of s columns, as a product

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, H, W, 3) uint8 to their thumbnails (B, 3, h, w), 0..1; s must divide H and W."""
        _, height, width, channels = images.shape
        h, w = height // self.side, width // self.side
        # The batch is -1, because a graph for an NPU may not read sizes.
        rows = images.float().reshape(-1, h, self.side, width * channels).mean(dim=2)  # (B, h, 3W)
        means = rows.reshape(-1, h, w, self.side * channels) @ self.columns  # (B, h, w, 3)
        return (means / 255).permute(0, 3, 1, 2)


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
