"""Target npu: a static graph that computes every expert and returns every anchor."""

from training.export.contract.spec import GraphSpec
from training.export.proof.openvino_engine import OpenVinoEngine
from training.export.targets.build import ONNX_FILE, trace
from training.export.targets.onnx import on_onnxruntime
from training.export.targets.target import Served, Target
from training.export.targets.triton_options import TritonOptions


def _served(options: TritonOptions) -> Served:
    if options.device != "NPU":
        return on_onnxruntime(options)
    return Served("openvino", ONNX_FILE, parameters={"TARGET_DEVICE": "NPU"})


NPU = Target(
    name="npu",
    precisions=("f32",),
    shared_alone=True,
    spec=lambda has_mixture, options: GraphSpec("dense", "service"),
    build=trace,
    open=OpenVinoEngine,
    served=_served,
)
