"""The interface between targets and the exporter: what a target defines."""

import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from training.export.contract.precision import TOLERANCES, Precision
from training.export.contract.spec import Execution, GraphSpec, TargetName
from training.export.graph.fixed_path import Route
from training.export.proof.census import skippable_experts
from training.export.proof.choice import choose_defaults
from training.export.proof.defaults import Choice, with_defaults
from training.export.proof.engine import Engine
from training.export.proof.selection import Speed, measure_speed
from training.export.targets.build import Source, check_census
from training.export.targets.options import ExportOptions
from training.export.targets.triton_options import TritonOptions

log = logging.getLogger(__name__)

EXECUTIONS: tuple[Execution, ...] = ("sparse", "dense")


@dataclass(frozen=True)
class Served:
    """How Triton runs the graphs of a target: the backend, its parameters, and the device."""

    backend: str
    file: str
    kind: str | None = "KIND_CPU"  # kind of Triton's instances; None: a GPU if there is one
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Built:
    """A graph on disk, and its GraphSpec.

    If both a sparse and a dense graph were built, their times are included.
    """

    path: Path
    spec: GraphSpec
    skippable_experts: int
    speed: Speed | None = None  # None: only one execution was built
    choice: Choice | None = None  # of the controls' defaults; None: nothing was chosen
    # Of a model with paths: its routes, whose graphs are beside that of the router, which is at `path`.
    routes: tuple[Route, ...] = ()
    weights: Mapping[str, Path] = field(default_factory=dict)  # files that routes share, by the routes' names


class Open(Protocol):
    """Opens a graph in the engine that proves it."""

    def __call__(self, graph: Path, precision: Precision, weights: Path | None = None, /) -> Engine:
        """Return the engine; `weights` holds the graph's weights, or is None if the graph has its own."""
        ...


@dataclass(frozen=True, kw_only=True)
class Target:
    """The properties of one kind of engine, such as openvino, and the functions that export graphs for it."""

    name: TargetName
    precisions: tuple[Precision, ...]  # the first is the default
    chooses_execution: bool = False  # can be sparse or dense
    fixes_batch: bool = False  # can be built for a fixed number of images
    shared_alone: bool = False  # can be built without routed experts
    spec: Callable[[bool, ExportOptions], GraphSpec]  # the bool: whether the model has mixtures
    build: Callable[[Path, GraphSpec, Source], Path]  # writes a graph into a folder; may raise ExportError
    open: Open
    served: Callable[[TritonOptions], Served]
    warmed_up: bool = False  # Triton runs the graph once before the first request

    def build_faster(self, folder: Path, spec: GraphSpec, source: Source) -> Built:
        """Write a graph into a folder.

        If the graph can be sparse or dense and the user requested neither, write the faster one. For a sparse
        graph, choose the defaults of its controls before it is timed, if `source` has images for this choice.

        Raises:
            ExportError: an expert of a sparse graph cannot be skipped, or the graph holds an operator that
                engines of the target may lack.
        """
        options = source.options
        if spec.execution != "sparse" or not self.chooses_execution or options.execution != "auto":
            only = self._build_checked(folder, spec, source)
            return replace(only, choice=self._choose(only, source))
        built = {}
        for execution in EXECUTIONS:
            (folder / execution).mkdir()
            form = replace(spec, execution=execution)
            built[execution] = self._build_checked(folder / execution, form, source)
        engines = {execution: self.open(each.path, options.precision) for execution, each in built.items()}
        if choice := self._choose(built["sparse"], source, engines["sparse"]):
            source = replace(source, model=with_defaults(source.model, choice.controls))
            built["sparse"] = replace(built["sparse"], choice=choice)
        speed = measure_speed(engines, source.inputs(source.images.parity, spec))
        log.info(f"{folder.parent.name}: {speed}")
        faster = built[speed.faster]
        for path in faster.path.parent.iterdir():
            path.rename(folder / path.name)
        for execution in EXECUTIONS:
            shutil.rmtree(folder / execution)
        return replace(faster, path=folder / faster.path.name, speed=speed)

    def _choose(self, built: Built, source: Source, engine: Engine | None = None) -> Choice | None:
        """Return the chosen control defaults; None without images, or if the graph skips no experts."""
        images = source.images.choice
        if isinstance(images, str) or built.spec.execution != "sparse" or not self.chooses_execution:
            return None
        engine = engine or self.open(built.path, source.options.precision)
        tolerance = TOLERANCES[source.options.precision]
        return choose_defaults(source.model, engine, built.spec, images, tolerance)

    def _build_checked(self, folder: Path, spec: GraphSpec, source: Source) -> Built:
        path = self.build(folder, spec, source)
        skippable = skippable_experts(path)
        if self.chooses_execution:
            check_census(skippable, spec, source)
        return Built(path, spec, skippable)
