"""Ask the Triton models of a model with paths: that of its router first, then that of the chosen route.

The Triton model `<name>-<target>` would do both. Asking its parts saves one of Triton's processes and the
images' way through it, and the gateway knows the route before the network runs.
"""

from collections import Counter
from collections.abc import Collection
from contextlib import ExitStack
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from service.artifact.manifest import Manifest
from service.artifact.paths import PathRoute
from service.backends.path_outputs import GraphTensors, PathOutputs
from service.backends.protocol import RouteTerms
from service.backends.route_choice import Inputs, RouteChoice
from service.backends.route_times import RouteKey
from service.backends.triton.sender import Placed, Sender
from service.errors import ArtifactConflict, ArtifactMismatch, BackendUnavailable, DeadlineExceeded
from service.request import RequestContext
from service.timeline import begin
from service.types import RawOutputs


class PathModels:
    """The Triton models of a version's router and routes."""

    def __init__(self, sender: Sender, manifest: Manifest) -> None:
        """Prepare to ask; the manifest has paths."""
        assert manifest.paths is not None
        self._sender = sender
        self._manifest, self._paths = manifest, manifest.paths
        self._choice = RouteChoice(manifest)
        self.times = self._choice.times
        self._asked: Counter[RouteKey] = Counter()  # calls that run now
        self._of_router = GraphTensors.of_router(manifest, manifest.paths)
        self._of_path = GraphTensors.of_path(manifest)
        whole = f"{manifest.name}-{manifest.target}"
        self.names = (whole, self._model(self._paths.router))  # without these, no image can be answered

    async def infer(
        self, inputs: Inputs, terms: RouteTerms | None, context: RequestContext
    ) -> tuple[RawOutputs, float]:
        """Route each image, and run the graphs of the chosen routes.

        Returns:
            The outputs by name, and the seconds that the routes took.

        Raises:
            RouteTooSlow, DeadlineExceeded: see `RouteChoice.fit`.
            BackendFailed: a top_k has no graph, or the router's probabilities are not finite.
            BackendUnavailable: the server does not have the graph of a route.
            ServiceError: see `Sender.run`.
        """
        with ExitStack() as holding:
            began = perf_counter()
            with begin(context.step, "router") as step:
                placed = holding.enter_context(self._sender.place(inputs[self._manifest.images.name]))
                router, inside = self._model(self._paths.router), context.inside(step)
                routed = await self._sender.run(router, placed, {}, self._of_router, inside)
            if terms is not None:
                terms.router_s = perf_counter() - began
            inputs = self._choice.routed(inputs, routed[self._paths.router_output.name], terms, context)
            began = perf_counter()
            with begin(context.step, "infer") as step:
                outputs = await self._run_routes(inputs, placed, context.inside(step))
        return outputs, perf_counter() - began

    async def _run_routes(self, inputs: Inputs, placed: Placed, context: RequestContext) -> RawOutputs:
        outputs = PathOutputs(self._manifest, inputs)
        for key, rows in outputs.rows.items():
            route = self._paths.route(*key)
            some = placed if len(rows) == len(placed.images) else Placed(placed.images[rows])
            outputs.fill(route, rows, await self._time(route, some, context))
        return outputs.arrays

    async def _time(self, route: PathRoute, placed: Placed, context: RequestContext) -> RawOutputs:
        """Run a route, and learn its time if it can be that of one image.

        The time holds the way there and back, the wait for the rest of a batch, and Triton's queue. A long
        queue says nothing about images after it, and Triton itself drops images whose deadline passes in it.
        So images with another image of this gateway before them teach nothing, and neither do failed calls.
        If the server forgot the shared memory, the call of the router has already put this right.
        """
        first, began = not self._asked[route.key], perf_counter()
        self._asked[route.key] += 1
        try:
            outputs = await self._run(route, placed, context)
        finally:
            self._asked[route.key] -= 1
        if first and len(placed.images) == min(self._manifest.batch):
            self.times.learn(route.key, perf_counter() - began)
        return outputs

    async def prove(
        self,
        images: NDArray[np.uint8],
        sha256: str,
        top_ks: Collection[int],
        context: RequestContext,
    ) -> None:
        """Check that the server has the graphs of this very artifact, and that they return finite numbers.

        Args:
            images: a model input, (1, H, W, 3).
            sha256: of the manifest.
            top_ks: routes with another top_k may be missing, because they are rare.
            context: deadline of the whole check.

        Raises:
            ArtifactConflict: a graph belongs to another artifact of the same name and version.
            ArtifactMismatch: a graph returns numbers that are not finite.
            BackendUnavailable: the server has not loaded a graph.
        """
        routes = [route for route in self._paths.routes if route.top_k in top_ks]
        for graph in (self._paths.router, *(route.graph for route in routes)):
            await self._check_origin(graph, sha256, context)
        for route in routes:
            for name, array in (await self._run(route, Placed(images), context)).items():
                if not np.isfinite(array).all():
                    raise ArtifactMismatch(name, float("nan"), 0.0, route.where)

    async def _check_origin(self, graph: str, sha256: str, context: RequestContext) -> None:
        model, version = self._model(graph), self._manifest.version
        parameters = await self._sender.channel.read_parameters(model, version, context.left_s())
        if (said := parameters.get(f"sha256.{version}")) != sha256:
            raise ArtifactConflict(
                f"triton's manifest has sha256 {sha256[:12]}…, but its {model} belongs to"
                f" {f'{said[:12]}…' if said else 'another version'}: load this model again"
            )

    async def _run(self, route: PathRoute, placed: Placed, context: RequestContext) -> RawOutputs:
        try:
            return await self._sender.run(self._model(route.graph), placed, {}, self._of_path, context)
        except BackendUnavailable as error:
            # The process of one route may be dead while others answer, so this alone is no lost server. If it
            # is one, the next image notices at the router.
            sentence = f"{route.graph}: {error}"
            raise BackendUnavailable(sentence, not_run=error.not_run, of_path=True) from error
        except DeadlineExceeded as error:  # Triton takes a second to notice that a process is dead
            raise DeadlineExceeded(error.allowed_s, silent=error.silent, of_path=True) from error

    def _model(self, graph: str) -> str:
        return f"{self._manifest.name}-{self._manifest.target}-{graph}"
