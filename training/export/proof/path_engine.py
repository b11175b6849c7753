"""Run the graphs of an artifact with paths as a server does: first the router, then each image's route."""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from training.errors import ExportError
from training.export.contract.controls import TOP_K
from training.export.contract.tensors import GATES, IMAGES, PATH_PROBS, ROUTER_PROBS, Arrays
from training.export.graph.fixed_path import Route
from training.export.proof.engine import Engine

# B batch · P paths


class PathEngine:
    """Runs the router, and for each image the graph of its path and its top_k.

    The path of an image is the one with the highest probability; of equal ones, the first. The graph of a
    route is opened when it is needed, and stays open.

    Args:
        router: runs the router's graph.
        routes: every route of the artifact.
        open_route: opens the graph of a route.
    """

    def __init__(
        self, router: Engine, routes: Iterable[Route], open_route: Callable[[Route], Engine]
    ) -> None:
        self.machine = router.machine
        self._router = router
        self._routes = {route.key: route for route in routes}
        self._open = open_route
        self._engines: dict[tuple[int, int], Engine] = {}

    @property
    def routes(self) -> tuple[Route, ...]:
        """Return every route of the artifact, in the order in which they were given."""
        return tuple(self._routes.values())

    def run(self, inputs: Arrays) -> Arrays:
        """Run a batch and return the outputs, with gates and the probabilities of experts from the routes.

        Inputs and outputs are by name. Images of the same route run together.

        Raises:
            ExportError: the router returns NaN, or there is no route for an image's top_k.
        """
        images = inputs[IMAGES]
        probs = self._router.run({IMAGES: images})[PATH_PROBS]  # (B, P)
        if not np.isfinite(probs).all():
            raise ExportError("the router's graph returns probabilities that are not finite")
        top_ks = inputs[TOP_K][:, 0]
        taken = [(int(path), int(top_k)) for path, top_k in zip(probs.argmax(axis=1), top_ks, strict=True)]
        outputs: dict[str, NDArray[np.generic]] = {PATH_PROBS: probs}
        for key in dict.fromkeys(taken):
            rows = [row for row, each in enumerate(taken) if each == key]
            for name, values in self._answer(key, images[rows]).items():
                if name not in outputs:
                    outputs[name] = np.empty((len(images), *values.shape[1:]), values.dtype)
                outputs[name][rows] = values
        return outputs

    def route(self, key: tuple[int, int]) -> Engine:
        """Return the engine of a route's graph, by path and top_k; raise ExportError if there is none."""
        if key not in self._routes:
            raise ExportError(f"there is no graph for path {key[0]} at top_k {key[1]}")
        if key not in self._engines:
            self._engines[key] = self._open(self._routes[key])
        return self._engines[key]

    def _answer(self, key: tuple[int, int], images: NDArray[np.generic]) -> dict[str, NDArray[np.generic]]:
        """Return the outputs of a route for images (B, H, W, 3) that all take it."""
        answer, route = dict(self.route(key).run({IMAGES: images})), self._routes[key]
        for name, values in ((GATES, route.gates), (ROUTER_PROBS, route.probs)):
            answer[name] = np.broadcast_to(values, (len(images), *values.shape))
        return answer
