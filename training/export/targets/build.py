"""The steps from a checkpoint to an ONNX file, which are the same for all targets."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from training.data.evaluation import on_canvas
from training.errors import ExportError
from training.export.contract.spec import GraphSpec
from training.export.graph.export_graph import graph_contract
from training.export.graph.onnx_file import to_onnx
from training.export.proof.census import check_branches
from training.export.proof.choice import ChoiceImages
from training.export.targets.options import ExportOptions
from training.models.network import Network

ONNX_FILE = "model.onnx"


@dataclass(frozen=True)
class ExportImages:
    """The images of one export, each (H, W, 3) uint8 RGB."""

    parity: Sequence[NDArray[np.uint8]]  # for the comparison with the checkpoint, and for timing
    golden: Sequence[NDArray[np.uint8]]  # one becomes part of the artifact, so all must be free to publish
    calibration: Sequence[NDArray[np.uint8]] = ()  # for precision int8
    choice: ChoiceImages | str = ""  # for the defaults of the controls, or why these stay as they are


Tracer = Callable[[Network, GraphSpec], onnx.ModelProto]


@dataclass(frozen=True)
class Source:
    """The model, the options and the images of one export."""

    model: Network
    options: ExportOptions
    images: ExportImages
    tracer: Tracer | None = None  # converts the model to ONNX; None: to_onnx

    def canvases(self, images: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
        """Return the images as model inputs."""
        return [on_canvas(image, self.model.config.input_hw, self.model.resize) for image in images]

    def inputs(
        self, images: Sequence[NDArray[np.uint8]], spec: GraphSpec
    ) -> list[dict[str, NDArray[np.generic]]]:
        """Return the graph's inputs by name for each image, with the model's default controls."""
        contract, controls = graph_contract(self.model.config, spec), self.model.default_controls()
        return [contract.feed([canvas], [controls]) for canvas in self.canvases(images)]


def trace(folder: Path, spec: GraphSpec, source: Source) -> Path:
    """Write the model as model.onnx into a folder, and return the file's path.

    Raises:
        ExportError: a branch of the graph has a constant condition, or the graph holds an operator that
            engines of its target may lack.
    """
    path = folder / ONNX_FILE
    proto = (source.tracer or to_onnx)(source.model, spec)
    check_branches(proto)
    onnx.save(proto, path)
    return path


def check_census(skippable: int, spec: GraphSpec, source: Source) -> None:
    """Raise ExportError unless a sparse graph can skip all of its experts, and a dense graph none.

    `skippable` is the number of experts that the graph can skip.
    """
    layers = source.model.mixture_layers().values() if spec.execution == "sparse" else ()
    expected = sum(len(layer.experts) for layer in layers)
    if skippable != expected:
        raise ExportError(
            f"{expected} experts of the model can be skipped, and the exported graph can skip {skippable} "
            "of them. Nothing was written."
        )
