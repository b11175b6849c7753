"""What an image costs in a network with paths: the router of the paths, then the network of its route."""

import copy
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.export.contract.spec import GraphSpec
from training.export.contract.tensors import GraphContract
from training.export.graph.export_graph import ExportGraph, graph_contract
from training.export.graph.fixed_path import Route, fixed_network, routes_of
from training.export.graph.onnx_file import trace_images
from training.export.graph.path_router import PathGraph, Thumbnail, router_contract
from training.models.detector import Detector
from training.models.mixture.layer import Dispatch
from training.models.mixture.path import choose_path
from training.models.mixture.routing import RoutingControls
from training.models.network import Network


def route_of_image(model: Network, canvas: NDArray[np.uint8], top_k: int) -> Route:
    """Return the route of a model input (H, W, 3) at a top_k; a route must have this top_k."""
    with torch.inference_mode():
        path = int(PathGraph(model)(torch.from_numpy(canvas)[None]).argmax())
    (route,) = (each for each in routes_of(model) if each.key == (path, top_k))
    return route


class RouteGraph(nn.Module):
    """The router and the network of one route in one graph, so that both are timed together.

    A server runs them as two graphs, because the path of an image decides which network runs.
    """

    def __init__(self, model: Network, route: Route, spec: GraphSpec) -> None:
        super().__init__()
        self.router = PathGraph(model)
        self.fixed = ExportGraph(fixed_network(model, route), spec)
        images = router_contract(model.config, spec)
        outputs = graph_contract(self.fixed.model.config, spec).outputs
        self.contract = GraphContract(images.batch, images.inputs, (*outputs, *images.outputs))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs of the route's network for images (B, H, W, 3), and the paths' probabilities."""
        return (*self.fixed(images), self.router(images))


class RoutesImages(Detector):
    """A detector with paths that routes uint8 images, as the router's exported graph does."""

    thumbnail: Thumbnail

    def forward(
        self, images: Tensor, controls: RoutingControls | None = None, dispatch: Dispatch | None = None
    ) -> Any:
        """Return the predictions for images (B, H, W, 3) uint8 RGB, as the detector does."""
        assert self.path_router is not None
        path = choose_path(self.path_router.score(self.thumbnail(images)))
        asked = (controls or self.default_controls())._replace(path=path.gate)
        return super().forward(images, asked, dispatch)._replace(path=path)


def with_exported_router(model: Detector) -> Detector:
    """Return a copy of a network with paths, so that its router costs as much as that of its routes.

    Otherwise, the graph with only the chosen experts would be no bound for the time of a route.
    """
    changed = copy.deepcopy(model)
    assert changed.path_router is not None
    changed.thumbnail = Thumbnail(changed.path_router.pool)
    changed.__class__ = type("RoutesImages", (RoutesImages, type(model)), {})  # of any task
    return changed


def route_to_onnx(model: Network, route: Route, spec: GraphSpec) -> onnx.ModelProto:
    """Return the router and the network of a route as one ONNX graph."""
    graph = RouteGraph(model, route, spec).eval()
    return trace_images(graph, model.config, graph.contract, spec)
