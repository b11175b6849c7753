"""Target openvino: one image on a CPU; experts are skipped if that is faster."""

import logging
from dataclasses import replace
from pathlib import Path

import onnx

from training.export.contract.spec import GraphSpec
from training.export.graph.int8 import quantize_dense, quantize_like, save_over
from training.export.graph.onnx_file import to_onnx
from training.export.proof.openvino_engine import OpenVinoEngine, save_openvino
from training.export.targets.build import Source, trace
from training.export.targets.options import ExportOptions
from training.export.targets.target import Served, Target
from training.export.targets.triton_options import TritonOptions

log = logging.getLogger(__name__)


def _spec(has_mixture: bool, options: ExportOptions) -> GraphSpec:
    return GraphSpec(
        options.execution_of(has_mixture),
        "graph",
        # Weights that are gathered at run time cannot be quantised beforehand.
        branches="per_expert" if options.precision == "int8" else "best",
        ports="bf16" if options.precision == "bf16" else "f32",
    )


def _build(folder: Path, spec: GraphSpec, source: Source) -> Path:
    path = _convert(trace(folder, spec, source))
    if source.options.precision == "int8":
        _quantize(path, spec, source)
    return path


def _convert(onnx_path: Path) -> Path:
    path = onnx_path.with_suffix(".xml")
    save_openvino(onnx_path, path)
    onnx_path.unlink()
    return path


def _quantize(path: Path, spec: GraphSpec, source: Source) -> None:
    """Replace a graph by its 8-bit form; for a sparse graph, measure the value ranges on the dense graph.

    In the dense graph, every image passes through every expert, so each expert's ranges come from all images.
    """
    dense_path = path
    if spec.execution == "sparse":
        dense_path = path.with_name("dense.onnx")
        onnx.save(to_onnx(source.model, replace(spec, execution="dense")), dense_path)
        dense_path = _convert(dense_path)
    samples = source.inputs(source.images.calibration, spec)
    log.info(f"openvino: {spec.execution} in 8 bit, calibrated on {len(samples)} images")
    quantized = quantize_dense(dense_path, samples)
    if spec.execution == "sparse":
        quantized = quantize_like(quantized, dense_path, path)
    save_over(quantized, path)
    if dense_path != path:
        dense_path.unlink()
        dense_path.with_suffix(".bin").unlink()


def _served(options: TritonOptions) -> Served:
    parameters = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1"}  # one run at a time in each instance
    if options.pin_threads:
        parameters["ENABLE_CPU_PINNING"] = "YES"
    return Served(
        "openvino", "model.xml", parameters=parameters | options.threads_as("INFERENCE_NUM_THREADS")
    )


OPENVINO = Target(
    name="openvino",
    precisions=("f32", "bf16", "int8"),
    chooses_execution=True,
    spec=_spec,
    build=_build,
    open=OpenVinoEngine,
    served=_served,
)
