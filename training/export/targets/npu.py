"""Target npu: a static graph that computes every expert and selects nothing."""

from pathlib import Path
from typing import TYPE_CHECKING

from training.export.contract.spec import GraphSpec
from training.export.proof.openvino_engine import OpenVinoEngine
from training.export.targets.build import ONNX_FILE, Built, Source, trace
from training.export.targets.onnx import on_onnxruntime
from training.export.targets.options import ExportOptions
from training.export.targets.target import Target
from training.export.targets.triton_options import TritonOptions

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig as TritonModel


def _spec(has_mixture: bool, options: ExportOptions) -> GraphSpec:
    return GraphSpec("dense", "service")


def _build(folder: Path, spec: GraphSpec, source: Source) -> Built:
    return Built(trace(folder, spec, source), spec, 0)


def _describe(model: "TritonModel", options: TritonOptions) -> None:
    if options.device != "NPU":
        on_onnxruntime(model, options)
        return
    model.backend, model.default_model_filename = "openvino", ONNX_FILE
    model.instance_group.add(count=options.instances, kind="KIND_CPU")
    model.parameters["TARGET_DEVICE"].string_value = "NPU"


NPU = Target(
    name="npu",
    precisions=("f32",),
    shared_alone=True,
    spec=_spec,
    build=_build,
    open=OpenVinoEngine,
    describe=_describe,
)
