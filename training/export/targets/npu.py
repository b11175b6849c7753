"""Target npu: a static graph that computes every expert and selects nothing."""

from pathlib import Path

from training.export.contract.spec import GraphSpec
from training.export.proof.openvino_engine import OpenVinoEngine
from training.export.targets.build import ONNX_FILE, Built, Source, trace
from training.export.targets.onnx import on_onnxruntime
from training.export.targets.options import ExportOptions
from training.export.targets.target import Served, Target
from training.export.targets.triton_options import TritonOptions


def _spec(has_mixture: bool, options: ExportOptions) -> GraphSpec:
    return GraphSpec("dense", "service")


def _build(folder: Path, spec: GraphSpec, source: Source) -> Built:
    return Built(trace(folder, spec, source), spec, 0)


def _served(options: TritonOptions) -> Served:
    if options.device != "NPU":
        return on_onnxruntime(options)
    return Served("openvino", ONNX_FILE, parameters={"TARGET_DEVICE": "NPU"})


NPU = Target(
    name="npu",
    precisions=("f32",),
    shared_alone=True,
    spec=_spec,
    build=_build,
    open=OpenVinoEngine,
    served=_served,
)
