"""Run a model with paths in this process: its router first, then the graph of the path that it chose.

Waiting images of one path do not run as a batch: on a CPU, batches of 4 and 8 gave 0.84 to 0.93 times as many
images as single images (`python -m tests.load.path_batches`; the figures are in tests/load/RESULTS.md).
"""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from threading import Lock
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from service.artifact.golden import load_golden
from service.artifact.manifest import Manifest
from service.artifact.paths import TOP_K, PathRoute
from service.artifact.repository import Artifact
from service.artifact.route_golden import RouteAnswer, read_route_answers
from service.backends.contract import check_batch, check_outputs
from service.backends.engine import Engine, Graph, Load
from service.backends.in_process import InProcessBackend
from service.backends.path_outputs import GraphTensors, PathOutputs
from service.backends.protocol import RouteTerms
from service.backends.route_choice import Inputs, RouteChoice
from service.errors import ArtifactError, ArtifactMismatch, BackendFailed, BackendUnavailable, ServiceError
from service.request import RequestContext
from service.settings import BackendName
from service.timeline import begin
from service.types import RawOutputs

log = logging.getLogger(__name__)


class _Route:
    """The graph of one route. It is loaded and tried at the first use, because each graph takes memory."""

    def __init__(self, spec: PathRoute, load: Load) -> None:
        self.spec = spec
        self._load: Load | None = load
        self._lock = Lock()
        self._graph: Graph | None = None
        self._broken: ServiceError | None = None

    def graph(self, trial: "_Trial") -> Graph:
        """Return the graph; load and try it, unless this has been done.

        Raises:
            ArtifactError: the engine cannot load the graph, or its outputs for the golden image are wrong.
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
            trial.check(graph, self.spec)
        except (ArtifactError, BackendFailed) as error:
            self._broken = error
            raise
        facts = {"path": self.spec.path, "top_k": self.spec.top_k}
        log.info("path_loaded", extra={**trial.facts, **facts, "seconds": round(perf_counter() - began, 3)})
        return graph

    def clear(self) -> None:
        self._graph = self._load = None


@dataclass(frozen=True)
class _Trial:
    """The run that a graph must pass before it answers: the golden image, on the graph's own route."""

    inputs: Mapping[str, NDArray[np.uint8]]
    batch: int
    tensors: GraphTensors
    answers: Mapping[tuple[int, int], RouteAnswer]  # by path and top_k; empty if the artifact has none
    facts: Mapping[str, str]  # for the log

    @classmethod
    def of(cls, artifact: Artifact, tensors: GraphTensors, backend: BackendName) -> "_Trial":
        """Return the trial of an artifact; raise ArtifactBroken if its golden sample cannot be read."""
        manifest, golden = artifact.manifest, load_golden(artifact)
        batch = min(manifest.batch)
        inputs = {manifest.images.name: np.repeat(golden.input, batch, axis=0)}
        facts = {"model": manifest.name, "version": manifest.version, "backend": backend}
        return cls(inputs, batch, tensors, read_route_answers(golden, manifest), facts)

    def check(self, graph: Graph, spec: PathRoute) -> None:
        """Check that the outputs are usable, and those that the exporter recorded for the route, if any.

        Raises:
            ArtifactMismatch: an output is not finite, or differs by more than its tolerance.
            BackendFailed: an output has another shape or dtype, or the engine refused the image.
        """
        outputs = graph.run(self.inputs)
        check_outputs(outputs, self.tensors, self.batch, self.facts["backend"])
        for name, array in outputs.items():
            if not np.isfinite(array).all():
                raise ArtifactMismatch(name, float("nan"), 0.0, spec.where)
        if self.answers:
            self.answers[spec.key].check(outputs)


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
            ArtifactError: a graph cannot be read or loaded, or differs from the manifest; or its outputs for
                the golden image are not usable, or not those of its route.
            BackendFailed: the engine refused the golden image.
        """
        manifest, paths = artifact.manifest, artifact.manifest.paths
        assert paths is not None
        self._manifest, self._paths = manifest, paths
        files = {graph.name: artifact.folder / graph.file for graph in manifest.graphs}
        tensors = GraphTensors.of_path(manifest)
        self._routes = {
            spec.key: _Route(spec, engine.read(files[spec.graph], tensors)) for spec in paths.routes
        }
        # In float32, as the exporter proved it: rounding could move an image to another path.
        router = engine.read(files[paths.router], GraphTensors.of_router(manifest, paths), in_f32=True)
        self._router = router()
        self._trial = _Trial.of(artifact, tensors, name)
        self._choice = RouteChoice(manifest)
        self.times = self._choice.times
        for spec in paths.routes:
            if spec.top_k in top_ks:
                self._routes[spec.key].graph(self._trial)
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

    def route(self, inputs: Inputs, terms: RouteTerms | None, context: RequestContext) -> Inputs:
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
        return self._choice.routed(inputs, probabilities, terms, context)

    def fit(self, inputs: Inputs, terms: RouteTerms | None, context: RequestContext) -> Inputs:
        """Return the inputs with a top_k that fits the time; see `RouteChoice.fit`."""
        return self._choice.fit(inputs, terms, context)

    def compute(self, inputs: Inputs) -> RawOutputs:
        """Run the graphs of the chosen paths, in the calling thread; `inputs` is from `route`.

        Raises:
            BackendFailed: a top_k has no graph, or the engine refused the input.
            BackendUnavailable: a graph was used for the first time, and cannot be loaded or is not usable.
        """
        outputs = PathOutputs(self._manifest, inputs)
        for key, rows in outputs.rows.items():
            self._run(self._routes[key], inputs[self._manifest.images.name], rows, outputs)
        return outputs.arrays

    def _run(self, route: _Route, images: NDArray[np.uint8], rows: list[int], outputs: PathOutputs) -> None:
        """Run one route for some of the images, and write their rows of the outputs."""
        try:
            graph = route.graph(self._trial)
        except ArtifactError as error:  # of a graph that was read long ago, and is loaded now
            sentence = f"{route.spec.graph}: {error}; export the model again"
            raise BackendUnavailable(sentence, of_path=True) from error
        size = min(size for size in self._manifest.batch if size >= len(rows))
        padded = rows + rows[-1:] * (size - len(rows))  # the graph may take some sizes only
        began = perf_counter()
        found = graph.run({self._manifest.images.name: images[padded]})
        if size == min(self._manifest.batch):  # as for one image
            self.times.learn(route.spec.key, perf_counter() - began)
        outputs.fill(route.spec, rows, found)


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
