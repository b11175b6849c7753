"""What an export must know of a target: one value each."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from training.export.contract.precision import Precision
from training.export.contract.spec import GraphSpec, TargetName
from training.export.proof.engine import Engine
from training.export.targets.build import Build
from training.export.targets.options import ExportOptions
from training.export.targets.triton_options import TritonOptions

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig as TritonModel


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
    build: Build  # writes the graph into a folder; raises ExportError
    open: Callable[[Path, Precision], Engine]  # what proves the file here
    describe: "Callable[[TritonModel, TritonOptions], None]"  # backend, file, device and instances
    warmed_up: bool = False  # Triton runs it before the first caller comes
