"""Ask the Triton models of a model with paths: that of its router first, then that of the chosen route.

The Triton model `<name>-<target>` would do both. Asking its parts saves one of Triton's processes and the
images' way through it, and the gateway knows the route before the network runs.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.artifact.manifest import Manifest
from service.artifact.paths import PathRoute
from service.backends.path_outputs import GraphTensors, PathOutputs
from service.backends.triton.sender import Placed, Sender
from service.errors import ArtifactConflict, ArtifactMismatch, BackendUnavailable, DeadlineExceeded
from service.request import RequestContext
from service.types import RawOutputs


class PathModels:
    """The Triton models of a version's router and routes."""

    def __init__(self, sender: Sender, manifest: Manifest) -> None:
        """Prepare to ask; the manifest has paths."""
        assert manifest.paths is not None
        self._sender = sender
        self._manifest, self._paths = manifest, manifest.paths
        self._of_router = GraphTensors.of_router(manifest, manifest.paths)
        self._of_path = GraphTensors.of_path(manifest)
        whole = f"{manifest.name}-{manifest.target}"
        self.names = (whole, self._model(self._paths.router))  # without these, no image can be answered

    async def infer(self, inputs: Mapping[str, NDArray[Any]], context: RequestContext) -> RawOutputs:
        """Route each image, and run the graphs of the chosen routes; return the outputs by name.

        Raises:
            BackendFailed: a top_k has no graph, or the router's probabilities are not finite.
            BackendUnavailable: the server does not have the graph of a route.
            ServiceError: see `Sender.run`.
        """
        images = inputs[self._manifest.images.name]
        with self._sender.place(images) as placed:
            router = self._model(self._paths.router)
            routed = await self._sender.run(router, placed, {}, self._of_router, context)
            outputs = PathOutputs(self._manifest, inputs, routed[self._paths.router_output.name])
            for (path, top_k), rows in outputs.rows.items():
                route = self._paths.route(path, top_k)
                some = placed if len(rows) == len(images) else Placed(images[rows])
                outputs.fill(route, rows, await self._run(route, some, context))
        return outputs.arrays

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
