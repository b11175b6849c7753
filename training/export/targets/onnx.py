"""Target onnx: one image in ONNX Runtime; experts are skipped if that is faster."""

from pathlib import Path

import onnx

from training.export.contract.spec import GraphSpec
from training.export.graph.branch_weights import move_weights_into_branches
from training.export.proof.onnxruntime_engine import OnnxRuntimeEngine
from training.export.targets.build import ONNX_FILE, Source, trace
from training.export.targets.options import ExportOptions
from training.export.targets.target import Served, Target
from training.export.targets.triton_options import TritonOptions


def _spec(has_mixture: bool, options: ExportOptions) -> GraphSpec:
    # Without bodies for single top_k values: as weights move into branches, each body would get a copy.
    return GraphSpec(options.execution_of(has_mixture), "graph", branches="per_expert")


def _build(folder: Path, spec: GraphSpec, source: Source) -> Path:
    path = trace(folder, spec, source)
    proto = onnx.load(path)
    move_weights_into_branches(proto)
    onnx.save(proto, path)
    return path


def on_onnxruntime(options: TritonOptions) -> Served:
    """Return the Triton backend, file and parameters for a graph that runs in ONNX Runtime on the CPU."""
    return Served("onnxruntime", ONNX_FILE, parameters=options.threads_as("intra_op_thread_count"))


ONNX = Target(
    name="onnx",
    precisions=("f32",),
    chooses_execution=True,
    spec=_spec,
    build=_build,
    open=lambda path, precision, weights=None: OnnxRuntimeEngine(path),
    served=on_onnxruntime,
)
