"""Run a model with paths in this process: its router first, then the graph of the path that it chose.

Waiting images of one path do not run as a batch: on a CPU, batches of 4 and 8 gave 0.90 to 1.01 times as many
images as single images in the same processor time (`python -m tests.load.path_batches`; the figures are in
tests/load/RESULTS.md).
"""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from threading import Lock
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.artifact.golden import load_golden
from service.artifact.manifest import Manifest
from service.artifact.paths import TOP_K, PathRoute, Paths
from service.artifact.repository import Artifact
from service.artifact.tensors import OutputRow, TensorRow
from service.backends.contract import check_batch, check_outputs
from service.backends.engine import Engine, Graph, Load
from service.backends.in_process import InProcessBackend
from service.backends.protocol import RouteTerms
from service.backends.route_times import RouteKey, RouteTimes
from service.errors import ArtifactError, ArtifactMismatch, BackendFailed, BackendUnavailable, ServiceError
from service.request import RequestContext
from service.settings import BackendName
from service.timeline import begin
from service.types import RawOutputs

log = logging.getLogger(__name__)

_FILLED = ("gates", "router_probs", "path_probs")  # roles of the outputs that no graph of a path returns


@dataclass(frozen=True)
class _Tensors:
    """The tensors of one of the graphs; see `service.backends.contract.Tensors`."""

    inputs: tuple[TensorRow, ...]
    outputs: tuple[TensorRow, ...]
    batch: tuple[int, ...]

    @classmethod
    def of_router(cls, manifest: Manifest, paths: Paths) -> "_Tensors":
        row = TensorRow(name=paths.router_output.name, dtype="f32", dims=paths.router_output.dims)
        return cls((manifest.images,), (row,), manifest.batch)

    @classmethod
    def of_path(cls, manifest: Manifest) -> "_Tensors":
        outputs = tuple(row for row in manifest.outputs if row.role not in _FILLED)
        return cls((manifest.images,), outputs, manifest.batch)


class _Route:
    """The graph of one route. It is loaded and tried at the first use, because each graph takes memory."""

    def __init__(self, spec: PathRoute, load: Load) -> None:
        self._spec = spec
        self.gates = np.array(spec.gates, dtype=np.float32)  # (L, E)
        self.probs = np.array(spec.probs, dtype=np.float32)  # (L, E)
        self._load: Load | None = load
        self._lock = Lock()
        self._graph: Graph | None = None
        self._broken: ServiceError | None = None

    def graph(self, trial: "_Trial") -> Graph:
        """Return the graph; load and try it, unless this has been done.

        Raises:
            ArtifactError: the engine cannot load the graph, or its outputs are not usable.
            BackendFailed: the engine refused the golden image.
        """
        with self._lock:
            if self._graph is None:
                self._graph = self._loaded(trial)
            return self._graph

    def _loaded(self, trial: "_Trial") -> Graph:
        if self._broken is not None:
            raise self._broken
        assert self._load is not None
        began, load, self._load = perf_counter(), self._load, None  # a graph can be loaded once
        try:
            graph = load()
            trial.check(graph, self._spec)
        except (ArtifactError, BackendFailed) as error:
            self._broken = error
            raise
        facts = {"path": self._spec.path, "top_k": self._spec.top_k}
        log.info("path_loaded", extra={**trial.facts, **facts, "seconds": round(perf_counter() - began, 3)})
        return graph

    def clear(self) -> None:
        self._graph = self._load = None


@dataclass(frozen=True)
class _Trial:
    """The run that a graph must pass before it answers: usable outputs for the golden image."""

    inputs: Mapping[str, NDArray[np.uint8]]
    batch: int
    tensors: _Tensors
    facts: Mapping[str, str]  # for the log

    def check(self, graph: Graph, spec: PathRoute) -> None:
        """Check that the outputs are usable; raise ArtifactMismatch or BackendFailed otherwise."""
        outputs = graph.run(self.inputs)
        check_outputs(outputs, self.tensors, self.batch, self.facts["backend"])
        for name, array in outputs.items():
            if not np.isfinite(array).all():
                where = f"path {spec.path} at top_k {spec.top_k}"
                raise ArtifactMismatch(name, float("nan"), 0.0, where)


class PathBackend(InProcessBackend):
    """A router, and a graph for each path and top_k.

    The outputs have what the manifest lists: those of the path's graph, the path's fixed gates and
    probabilities of experts, and the router's probabilities of the paths. The images of a batch may take
    different paths; those of one path run together.
    """

    def __init__(
        self, name: BackendName, artifact: Artifact, engine: Engine, *, workers: int, top_ks: Collection[int]
    ) -> None:
        """Read every graph, and load the router and some of the routes.

        Args:
            name: name of the backend.
            artifact: a model with paths, whose files have been verified.
            engine: loads and runs the graphs.
            workers: maximum number of images at the same time.
            top_ks: the routes with one of these top_k are loaded now, and the others at their first use.

        Raises:
            ArtifactError: a graph cannot be read or loaded, differs from the manifest, or its outputs for the
                golden image are not usable.
            BackendFailed: the engine refused the golden image.
        """
        manifest, paths = artifact.manifest, artifact.manifest.paths
        assert paths is not None
        self._manifest, self._paths = manifest, paths
        files = {graph.name: artifact.folder / graph.file for graph in manifest.graphs}
        tensors = _Tensors.of_path(manifest)
        self._routes = {
            (spec.path, spec.top_k): _Route(spec, engine.read(files[spec.graph], tensors))
            for spec in paths.routes
        }
        self._router = engine.read(files[paths.router], _Tensors.of_router(manifest, paths))()
        batch = min(manifest.batch)
        golden = {manifest.images.name: np.repeat(load_golden(artifact).input, batch, axis=0)}
        facts = {"model": manifest.name, "version": manifest.version, "backend": name}
        self._trial = _Trial(golden, batch, tensors, facts)
        self.times = RouteTimes({(spec.path, spec.top_k): spec.gflops for spec in paths.routes})
        for spec in paths.routes:
            if spec.top_k in top_ks:
                self._routes[spec.path, spec.top_k].graph(self._trial)
        # Each graph has its own queue in the engine, and these do not wait for each other. So no more images
        # run than the engine has streams.
        streams = self._router.streams
        super().__init__(name, workers=workers, at_once=streams, streams=streams)

    async def close(self) -> None:
        """Wait for the jobs that are running, and free all graphs."""
        await super().close()
        del self._router
        for route in self._routes.values():
            route.clear()

    def route(
        self, inputs: Mapping[str, NDArray[Any]], terms: RouteTerms | None, context: RequestContext
    ) -> Mapping[str, NDArray[Any]]:
        """Run the router; return the inputs with its probabilities, by the name of its output.

        The router runs while other images keep the engine's streams busy: it is too small to slow them down.

        Raises:
            RouteTooSlow: see `fit`.
            BackendFailed: the batch size has no graph, the probabilities are not finite, or the engine
                refused the input.
        """
        check_batch(self._manifest, inputs)
        name, began = self._manifest.images.name, perf_counter()
        with begin(context.step, "router"):
            probabilities = self._router.run({name: inputs[name]})[self._paths.router_output.name]
        if terms is not None:
            terms.router_s = perf_counter() - began
        if not np.isfinite(probabilities).all():
            raise BackendFailed(
                f"the router of model {self._manifest.name!r} returned a number that is not finite"
            )
        return self.fit({**inputs, self._paths.router_output.name: probabilities}, terms, context)

    def fit(
        self, inputs: Mapping[str, NDArray[Any]], terms: RouteTerms | None, context: RequestContext
    ) -> Mapping[str, NDArray[Any]]:
        """Return the inputs of one image with the highest top_k, of those allowed, that will end in time.

        Raises:
            RouteTooSlow: no route that `terms` allows would probably end before the deadline.
        """
        routes = self._chosen(inputs)
        if terms is None or len(routes) > 1:
            return inputs
        _, top_k = self.times.choose(routes[0], terms.cheaper, context.left_s())
        if top_k == routes[0][1]:
            return inputs
        terms.top_k = top_k
        return {**inputs, TOP_K: np.full_like(inputs[TOP_K], top_k)}

    def compute(self, inputs: Mapping[str, NDArray[Any]]) -> RawOutputs:
        """Run the graphs of the chosen paths, in the calling thread; `inputs` is from `route`.

        Raises:
            BackendFailed: a top_k has no graph, or the engine refused the input.
            BackendUnavailable: a graph was used for the first time, and cannot be loaded or is not usable.
        """
        batch = check_batch(self._manifest, inputs)
        images, chosen = inputs[self._manifest.images.name], self._chosen(inputs)
        outputs = {row.name: np.empty(row.shape(batch), row.numpy_dtype) for row in self._manifest.outputs}
        outputs[self._row("path_probs").name][:] = inputs[self._paths.router_output.name]
        for key in dict.fromkeys(chosen):
            self._run(key, images, [i for i, one in enumerate(chosen) if one == key], outputs)
        return outputs

    def _chosen(self, inputs: Mapping[str, NDArray[Any]]) -> list[RouteKey]:
        """Return the route of each image, from the inputs with the router's probabilities."""
        paths = inputs[self._paths.router_output.name].argmax(axis=1)
        return [(int(path), int(top_k)) for path, top_k in zip(paths, inputs[TOP_K][:, 0], strict=True)]

    def _run(
        self,
        key: RouteKey,
        images: NDArray[np.uint8],
        rows: list[int],
        outputs: Mapping[str, NDArray[Any]],
    ) -> None:
        """Run one route for some of the images, and write their rows of the outputs."""
        route = self._routes.get(key)
        if route is None:
            raise BackendFailed(f"model {self._manifest.name!r} has no graph for top_k {key[1]}")
        try:
            graph = route.graph(self._trial)
        except ArtifactError as error:  # of a graph that was read long ago, and is loaded now
            raise BackendUnavailable(str(error)) from error
        size = min(size for size in self._manifest.batch if size >= len(rows))
        padded = rows + rows[-1:] * (size - len(rows))  # the graph may take some sizes only
        began = perf_counter()
        found = graph.run({self._manifest.images.name: images[padded]})
        if size == min(self._manifest.batch):  # as for one image
            self.times.learn(key, perf_counter() - began)
        for name, array in found.items():
            outputs[name][rows] = array[: len(rows)]
        outputs[self._row("gates").name][rows] = route.gates
        outputs[self._row("router_probs").name][rows] = route.probs

    def _row(self, role: str) -> OutputRow:
        return self._manifest.output(role)


def usual_top_ks(manifest: Manifest, least: int | None) -> frozenset[int]:
    """Return the values of top_k whose routes should be loaded at the start.

    These are the default, and those to which a brownout may lower it: under load, there is no time to load
    graphs.

    Args:
        manifest: of a model with paths.
        least: the lowest top_k of a brownout; None: a brownout does not lower top_k.
    """
    assert manifest.paths is not None
    default = int(next(row.default for row in manifest.controls if row.name == TOP_K))
    lowest = default if least is None else min(least, default)
    return frozenset(top_k for top_k in manifest.paths.top_ks if lowest <= top_k <= default)
