"""From a checkpoint to the file that an engine reads: the steps that targets share."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from training.data.evaluation import on_canvas
from training.errors import ExportError
from training.export.contract.spec import Execution, GraphSpec
from training.export.graph.export_graph import graph_contract
from training.export.graph.onnx_file import to_onnx
from training.export.proof.census import check_branches
from training.export.proof.selection import Speed
from training.export.targets.options import ExportOptions
from training.models.network import Network

log = logging.getLogger(__name__)

EXECUTIONS: tuple[Execution, ...] = ("sparse", "dense")
ONNX_FILE = "model.onnx"


@dataclass(frozen=True)
class ExportImages:
    """What a graph is proved and timed with: images (H, W, 3) uint8 RGB."""

    parity: Sequence[NDArray[np.uint8]]
    golden: Sequence[NDArray[np.uint8]]  # drawn by our own code: one of them is shipped
    calibration: Sequence[NDArray[np.uint8]] = ()  # for precision int8


@dataclass(frozen=True)
class Source:
    """What the graphs of one export are built from."""

    model: Network
    options: ExportOptions
    images: ExportImages

    def canvases(self, images: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
        """Return images as the graph takes them."""
        return [on_canvas(image, self.model.config.input_hw, self.model.resize) for image in images]

    def inputs(
        self, images: Sequence[NDArray[np.uint8]], spec: GraphSpec
    ) -> list[dict[str, NDArray[np.generic]]]:
        """Return the inputs of one run for each image, under the model's own controls."""
        contract, controls = graph_contract(self.model.config, spec), self.model.default_controls()
        return [contract.feed([canvas], [controls]) for canvas in self.canvases(images)]

    @property
    def experts(self) -> int:
        """Experts of all layers that can be chosen."""
        return sum(len(layer.experts) for layer in self.model.mixture_layers().values())


@dataclass(frozen=True)
class Built:
    """A graph on disk."""

    path: Path  # of the file that an engine reads
    spec: GraphSpec
    skippable_experts: int
    speed: Speed | None = None  # where both executions were built, and this was the faster


def trace(folder: Path, spec: GraphSpec, source: Source) -> Path:
    """Write the model as model.onnx into a folder. Raise ExportError: a branch is frozen."""
    path = folder / ONNX_FILE
    proto = to_onnx(source.model, spec)
    check_branches(proto)
    onnx.save(proto, path)
    return path


def check_census(skippable: int, spec: GraphSpec, source: Source) -> None:
    """Raise ExportError unless exactly the experts of a sparse graph can be skipped."""
    expected = source.experts if spec.execution == "sparse" else 0
    if skippable != expected:
        raise ExportError(
            f"{expected} experts of the model can be skipped, and the exported graph can skip {skippable} "
            "of them. Nothing was written."
        )
