"""Compare every route of a model with paths with the checkpoint, which is sent on the route's path."""

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.export.contract.precision import Tolerance
from training.export.contract.spec import GraphSpec
from training.export.contract.tensors import GraphContract
from training.export.graph.export_graph import ExportGraph, graph_contract
from training.export.graph.fixed_path import Route, fixed_network, one_hot
from training.export.proof.engine import Runner
from training.export.proof.parity import Parity, measure_parity
from training.models.mixture.routing import RoutingControls
from training.models.network import Network
from training.progress import bar

FORCED_IMAGES = 12  # for each route; beyond these, images are compared only on their own paths


class ForcedEager:
    """Runs the checkpoint's network in PyTorch for images that are all sent on one path."""

    def __init__(self, model: Network, route: Route, spec: GraphSpec, contract: GraphContract) -> None:
        assert model.config.paths is not None
        self._graph = ExportGraph(model, GraphSpec("dense", spec.selection, spec.candidates))
        self._controls = RoutingControls(route.top_k, path=one_hot(route.path, model.config.paths.count))
        self._names = [each.name for each in contract.outputs]

    @torch.inference_mode()
    def answer(self, canvas: NDArray[np.uint8], controls: RoutingControls) -> dict[str, NDArray[Any]]:
        """Return the task's outputs by name for one model input (H, W, 3); `controls` change nothing."""
        graph = self._graph
        predictions = graph.model(torch.from_numpy(canvas[None]), self._controls, dispatch="dense")
        outputs = graph.task.outputs(graph.model, predictions, graph.spec)
        return {name: output.numpy() for name, output in zip(self._names, outputs, strict=True)}


OpenRoute = Callable[[Route, Network], Runner]
"""A function that returns the runner of a route's graph, for the route and the network of the route."""


def measure_routes(
    model: Network,
    spec: GraphSpec,
    open_route: OpenRoute,
    routes: Sequence[Route],
    canvases: Sequence[NDArray[np.uint8]],
    tolerance: Tolerance,
) -> Parity:
    """Return the largest differences between the graphs of all routes and the checkpoint.

    Every route answers the same images, whichever path the router would choose for them.

    Args:
        canvases: model inputs (H, W, 3); FORCED_IMAGES (12) of them, evenly spread, are compared.
    """
    rows = np.linspace(0, len(canvases) - 1, min(len(canvases), FORCED_IMAGES)).round().astype(int)
    some, found = [canvases[row] for row in rows], []
    with bar(len(routes), "route", "compare routes") as progress:
        for route in routes:
            fixed = fixed_network(model, route)
            forced = ForcedEager(model, route, spec, graph_contract(fixed.config, spec, tolerance))
            runner, top_k = open_route(route, fixed), [route.top_k]
            found.append(
                measure_parity(fixed, spec, runner, some, top_k, tolerance=tolerance, reference=forced)
            )
            progress.update()
    return reduce(Parity.worse_of, found)
