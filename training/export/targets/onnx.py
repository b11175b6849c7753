"""Target onnx: one image in ONNX Runtime, experts skipped where that is faster."""

from pathlib import Path

import onnx

from training.export.contract.precision import Precision
from training.export.contract.spec import GraphSpec
from training.export.graph.branch_weights import move_weights_into_branches
from training.export.graph.onnx_file import conditional_experts
from training.export.proof.onnxruntime_engine import OnnxRuntimeEngine
from training.export.targets.build import ONNX_FILE, Built, Source, trace
from training.export.targets.options import ExportOptions
from training.export.targets.target import Served, Target
from training.export.targets.triton_options import TritonOptions


def _spec(has_mixture: bool, options: ExportOptions) -> GraphSpec:
    sparse = has_mixture and options.execution != "dense"
    # Bodies for one top_k would each take a copy of all weights, once these lie inside.
    return GraphSpec("sparse" if sparse else "dense", "graph", branches="per_expert" if sparse else "best")


def _build(folder: Path, spec: GraphSpec, source: Source) -> Built:
    path = trace(folder, spec, source)
    proto = onnx.load(path)
    skippable = conditional_experts(proto)
    if spec.execution == "sparse":
        move_weights_into_branches(proto)
        onnx.save(proto, path)
    return Built(path, spec, skippable)


def _open(path: Path, precision: Precision) -> OnnxRuntimeEngine:
    assert precision == "f32"
    return OnnxRuntimeEngine(path)


def on_onnxruntime(options: TritonOptions) -> Served:
    """Return how Triton's ONNX Runtime runs a graph on the CPU."""
    return Served("onnxruntime", ONNX_FILE, parameters=options.threads_as("intra_op_thread_count"))


ONNX = Target(
    name="onnx",
    precisions=("f32",),
    default=True,
    chooses_execution=True,
    spec=_spec,
    build=_build,
    open=_open,
    served=on_onnxruntime,
)
