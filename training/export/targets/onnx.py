"""Target onnx: one image in ONNX Runtime, experts skipped where that is faster."""

from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from training.export.contract.precision import Precision
from training.export.contract.spec import GraphSpec
from training.export.graph.branch_weights import move_weights_into_branches
from training.export.graph.onnx_file import conditional_experts
from training.export.proof.onnxruntime_engine import OnnxRuntimeEngine
from training.export.targets.build import ONNX_FILE, Built, Source, build_faster, check_census, trace
from training.export.targets.options import ExportOptions
from training.export.targets.target import Target
from training.export.targets.triton_options import TritonOptions

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig as TritonModel


def _spec(has_mixture: bool, options: ExportOptions) -> GraphSpec:
    sparse = has_mixture and options.execution != "dense"
    # Bodies for one top_k would each take a copy of all weights, once these lie inside.
    return GraphSpec("sparse" if sparse else "dense", "graph", branches="per_expert" if sparse else "best")


def _build(folder: Path, spec: GraphSpec, source: Source) -> Built:
    return build_faster(folder, spec, source, _build_one, OnnxRuntimeEngine)


def _build_one(folder: Path, spec: GraphSpec, source: Source) -> Built:
    path = trace(folder, spec, source)
    proto = onnx.load(path)
    skippable = conditional_experts(proto)
    check_census(skippable, spec, source)
    if spec.execution == "sparse":
        move_weights_into_branches(proto)
        onnx.save(proto, path)
    return Built(path, spec, skippable)


def _open(path: Path, precision: Precision) -> OnnxRuntimeEngine:
    assert precision == "f32"
    return OnnxRuntimeEngine(path)


def on_onnxruntime(model: "TritonModel", options: TritonOptions) -> None:
    """Describe a model that Triton's ONNX Runtime runs on the CPU."""
    model.backend, model.default_model_filename = "onnxruntime", ONNX_FILE
    model.instance_group.add(count=options.instances, kind="KIND_CPU")
    if options.threads is not None:
        model.parameters["intra_op_thread_count"].string_value = str(options.threads)


ONNX = Target(
    name="onnx",
    precisions=("f32",),
    default=True,
    chooses_execution=True,
    spec=_spec,
    build=_build,
    open=_open,
    describe=on_onnxruntime,
)
