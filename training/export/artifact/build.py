"""From a checkpoint to the file that an engine reads: traced, converted, quantised."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from training.data.letterbox import letterbox_image
from training.errors import ExportError
from training.export.graph.export_graph import Execution, GraphSpec, Target
from training.export.graph.half import half_precision
from training.export.graph.int8 import quantize_dense, quantize_like, save_over
from training.export.graph.onnx_file import to_onnx
from training.export.proof.census import check_branches, skippable_experts
from training.export.proof.engine import Engine, save_openvino
from training.export.proof.selection import Speed, measure_speed
from training.export.targets.options import ExportOptions
from training.models.detector import Detector

EXECUTIONS: tuple[Execution, ...] = ("sparse", "dense")


@dataclass(frozen=True)
class Source:
    """What the graphs of one export are built from."""

    model: Detector
    options: ExportOptions
    pictures: Sequence[NDArray[np.uint8]]  # (H, W, 3) RGB each; both executions are timed on them
    calibration: Sequence[NDArray[np.uint8]]  # likewise, for precision int8
    quiet: bool  # no progress bar
    say: Callable[[str], None]  # is told what is being done

    def canvases(self, pictures: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
        """Letterboxed for the model."""
        return [letterbox_image(picture, self.model.config.input_hw)[0] for picture in pictures]


@dataclass(frozen=True)
class Built:
    """A graph on disk."""

    path: Path  # of the file that an engine reads
    spec: GraphSpec
    skippable_experts: int
    speed: Speed | None = None  # where both executions were built, and this was the faster


def build_graph(folder: Path, target: Target, spec: GraphSpec, source: Source) -> Built:
    """Write the graph in its precision; where both executions are possible and none is asked for, the faster.

    Raises:
        ExportError: the graph cannot be what the target needs.
    """
    if target == "openvino" and spec.execution == "sparse" and source.options.execution == "auto":
        return _build_faster(folder, spec, source)
    return _build(folder, target, spec, source)


def _build_faster(folder: Path, spec: GraphSpec, source: Source) -> Built:
    """Build both executions, and leave the faster one in the folder."""
    built = {}
    for execution in EXECUTIONS:
        (folder / execution).mkdir()
        built[execution] = _build(folder / execution, "openvino", replace(spec, execution=execution), source)
    engines = {execution: Engine(each.path, source.options.precision) for execution, each in built.items()}
    speed = measure_speed(engines, source.canvases(source.pictures), source.model.default_controls())
    source.say(f"openvino: {speed}")
    faster = built[speed.faster]
    for path in faster.path.parent.iterdir():
        path.rename(folder / path.name)
    for execution in EXECUTIONS:
        shutil.rmtree(folder / execution)
    return replace(faster, path=folder / faster.path.name, speed=speed)


def _build(folder: Path, target: Target, spec: GraphSpec, source: Source) -> Built:
    """Write the graph in its precision."""
    path = folder / "model.onnx"
    traced = half_precision(source.model) if source.options.precision == "f16" else source.model
    onnx.save(to_onnx(traced, spec), path)
    if target == "openvino":
        path = _convert(path)
    if source.options.precision == "int8":
        _quantize(path, spec, source)
    skippable = skippable_experts(path) if target == "openvino" else 0
    expected = sum(len(layer.experts) for layer in source.model.mixture_layers().values())
    if target == "openvino" and skippable != (expected if spec.execution == "sparse" else 0):
        raise ExportError(
            f"the model has {expected} experts, and the converted graph can skip {skippable} of them. "
            "Nothing was written."
        )
    return Built(path, spec, skippable)


def _convert(onnx_path: Path) -> Path:
    path = onnx_path.with_suffix(".xml")
    save_openvino(onnx_path, path)
    onnx_path.unlink()
    check_branches(path)
    return path


def _quantize(path: Path, spec: GraphSpec, source: Source) -> None:
    """Replace a graph by its 8-bit form; ranges are those that the dense graph sees."""
    dense_path = path
    if spec.execution == "sparse":
        dense_path = path.with_name("dense.onnx")
        onnx.save(to_onnx(source.model, replace(spec, execution="dense")), dense_path)
        dense_path = _convert(dense_path)
    canvases = source.canvases(source.calibration)
    source.say(f"openvino: {spec.execution} in 8 bit, calibrated on {len(canvases)} pictures")
    quantized = quantize_dense(dense_path, canvases, source.model.default_controls(), quiet=source.quiet)
    if spec.execution == "sparse":
        quantized = quantize_like(quantized, dense_path, path)
    save_over(quantized, path)
    if dense_path != path:
        dense_path.unlink()
        dense_path.with_suffix(".bin").unlink()
