"""The exported file, run as the service will run it: to prove it before it is released."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from training.models.mixture.routing import RoutingControls


def save_openvino(onnx_path: Path, xml_path: Path) -> None:
    """Convert; weights stay float32, which parity and pinned precision need."""
    ov.save_model(ov.Core().read_model(onnx_path), xml_path, compress_to_fp16=False)


class Engine:
    """OpenVINO on the CPU with precision pinned to float32."""

    def __init__(self, graph_path: Path) -> None:
        core = ov.Core()
        model = core.read_model(graph_path)
        self.input_names = [port.get_any_name() for port in model.inputs]
        # OpenVINO takes bf16 by itself on CPUs that have it, and bf16 moves experts.
        compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        self._request = compiled.create_infer_request()
        self._outputs = [port.get_any_name() for port in compiled.outputs]

    def run(self, canvas: NDArray[np.uint8], controls: RoutingControls) -> Mapping[str, NDArray[Any]]:
        """Outputs by name for one letterboxed image (H, W, 3)."""
        return self.run_batch([canvas], [controls])

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
