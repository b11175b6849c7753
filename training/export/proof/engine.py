"""The exported file, run as the service will run it: to prove it before it is released."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from training.errors import ExportError
from training.export.graph.precision import Precision
from training.models.mixture.routing import RoutingControls

# What is left in float of an 8-bit graph stays float32; f16 lies in the graph's own types.
HINTS: Mapping[Precision, str] = {"f32": "f32", "bf16": "bf16", "f16": "f32", "int8": "f32"}


def save_openvino(onnx_path: Path, xml_path: Path) -> None:
    """Convert; weights stay float32, which parity and pinned precision need."""
    ov.save_model(ov.Core().read_model(onnx_path), xml_path, compress_to_fp16=False)


def cpu_capabilities() -> Collection[str]:
    """What OpenVINO says that this CPU computes in: FP32, INT8, BF16, …"""
    return tuple(ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def check_precision(precision: Precision, capabilities: Collection[str]) -> None:
    """Raises ExportError where a CPU of these capabilities could not prove a graph of this precision."""
    if precision == "bf16" and "BF16" not in capabilities:
        raise ExportError(
            "precision bf16: this CPU does not compute in bf16, so that nothing can be proved of it here. "
            "Export on one with AVX-512 BF16 or AMX, or with --precision f32."
        )


class Engine:
    """OpenVINO on the CPU with its precision pinned."""

    def __init__(self, graph_path: Path, precision: Precision = "f32") -> None:
        core = ov.Core()
        model = core.read_model(graph_path)
        self.input_names = [port.get_any_name() for port in model.inputs]
        sizes = model.input("images").partial_shape[0]
        self._batch = sizes.get_length() if sizes.is_static else 1
        # OpenVINO takes bf16 by itself on CPUs that have it, and bf16 moves experts.
        compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": HINTS[precision]})
        threads = compiled.get_property("INFERENCE_NUM_THREADS")
        self.machine = f"{core.get_property('CPU', 'FULL_DEVICE_NAME').strip()}, {threads} threads"
        self._request = compiled.create_infer_request()
        self._outputs = [port.get_any_name() for port in compiled.outputs]

    def run(self, canvas: NDArray[np.uint8], controls: RoutingControls) -> Mapping[str, NDArray[Any]]:
        """Outputs by name for one letterboxed image (H, W, 3); it fills the batch if that is fixed."""
        outputs = self.run_batch([canvas] * self._batch, [controls] * self._batch)
        return {name: values[:1] for name, values in outputs.items()}

    def run_batch(
        self, canvases: Sequence[NDArray[np.uint8]], controls: Sequence[RoutingControls]
    ) -> Mapping[str, NDArray[Any]]:
        """Outputs by name for letterboxed images (H, W, 3) with controls for each."""
        values = {
            "images": np.stack(canvases),
            "top_k": np.array([[each.top_k] for each in controls], dtype=np.int64),
            "weight_threshold": np.array([[each.weight_threshold] for each in controls], dtype=np.float32),
        }
        self._request.infer({name: values[name] for name in self.input_names})
        return {name: self._request.get_tensor(name).data.copy() for name in self._outputs}
