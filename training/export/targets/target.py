"""What an export must know of a target: one value each."""

import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from training.export.contract.precision import Precision
from training.export.contract.spec import Execution, GraphSpec, TargetName
from training.export.proof.engine import Engine
from training.export.proof.selection import measure_speed
from training.export.targets.build import Built, Source, check_census
from training.export.targets.options import ExportOptions
from training.export.targets.triton_options import TritonOptions

log = logging.getLogger(__name__)

EXECUTIONS: tuple[Execution, ...] = ("sparse", "dense")


@dataclass(frozen=True)
class Served:
    """How Triton runs a graph."""

    backend: str
    file: str
    kind: str | None = "KIND_CPU"  # of its instances; None: a GPU where there is one
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Target:
    """An engine to export for."""

    name: TargetName
    precisions: tuple[Precision, ...]  # the first is the default
    default: bool = False  # exported where none is named
    chooses_execution: bool = False  # sparse or dense, by timing both or as is asked for
    fixes_batch: bool = False  # can be built for exactly so many images
    shared_alone: bool = False  # can be built without routed experts
    spec: Callable[[bool, ExportOptions], GraphSpec]  # of a model with mixtures, or without
    build: Callable[[Path, GraphSpec, Source], Built]  # writes a graph into a folder; raises ExportError
    open: Callable[[Path, Precision], Engine]  # what proves the file here
    served: Callable[[TritonOptions], Served]
    warmed_up: bool = False  # Triton runs it before the first caller comes

    def build_checked(self, folder: Path, spec: GraphSpec, source: Source) -> Built:
        """Write a graph into a folder. Raise ExportError: it cannot be what the target needs."""
        built = self.build(folder, spec, source)
        if self.chooses_execution:
            check_census(built.skippable_experts, spec, source)
        return built

    def build_faster(self, folder: Path, spec: GraphSpec, source: Source) -> Built:
        """Write a graph; where both executions are possible and none is asked for, the faster one.

        Raises:
            ExportError: the graph cannot be what the target needs.
        """
        choice = self.chooses_execution and source.options.execution == "auto"
        if spec.execution != "sparse" or not choice:
            return self.build_checked(folder, spec, source)
        built = {}
        for execution in EXECUTIONS:
            (folder / execution).mkdir()
            form = replace(spec, execution=execution)
            built[execution] = self.build_checked(folder / execution, form, source)
        precision = source.options.precision
        engines = {execution: self.open(each.path, precision) for execution, each in built.items()}
        speed = measure_speed(engines, source.inputs(source.images.parity, spec))
        log.info(f"{folder.parent.name}: {speed}")
        faster = built[speed.faster]
        for path in faster.path.parent.iterdir():
            path.rename(folder / path.name)
        for execution in EXECUTIONS:
            shutil.rmtree(folder / execution)
        return replace(faster, path=folder / faster.path.name, speed=speed)
