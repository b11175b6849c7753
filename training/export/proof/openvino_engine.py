"""OpenVINO on the CPU, as the service runs it."""

from collections.abc import Collection, Mapping
from pathlib import Path

import openvino as ov

from training.errors import ExportError
from training.export.contract.precision import Precision
from training.export.contract.tensors import Arrays
from training.export.proof.engine import Port

# What is left in float of an 8-bit graph stays float32; f16 lies in the graph's own types.
HINTS: Mapping[Precision, str] = {"f32": "f32", "bf16": "bf16", "f16": "f32", "int8": "f32"}
DTYPES = {"u8": "u8", "i32": "i32", "i64": "i64", "f16": "f16", "f32": "f32", "boolean": "bool"}


def save_openvino(onnx_path: Path, xml_path: Path) -> None:
    """Convert; weights stay float32, which parity and pinned precision need."""
    ov.save_model(ov.Core().read_model(onnx_path), xml_path, compress_to_fp16=False)


def cpu_capabilities() -> Collection[str]:
    """Return what OpenVINO says that this CPU computes in: FP32, INT8, BF16, …"""
    return tuple(ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def check_precision(precision: Precision, capabilities: Collection[str]) -> None:
    """Raise ExportError where a CPU of these capabilities could not prove a graph of this precision."""
    if precision == "bf16" and "BF16" not in capabilities:
        raise ExportError(
            "precision bf16: this CPU does not compute in bf16, so that nothing can be proved of it here. "
            "Export on one with AVX-512 BF16 or AMX, or with --precision f32."
        )


class OpenVinoEngine:
    """OpenVINO on the CPU with its precision pinned."""

    def __init__(self, graph_path: Path, precision: Precision = "f32") -> None:
        core = ov.Core()
        model = core.read_model(graph_path)
        self.inputs = tuple(_port(port) for port in model.inputs)
        self.outputs = tuple(_port(port) for port in model.outputs)
        # OpenVINO takes bf16 by itself on CPUs that have it, and bf16 moves experts.
        compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": HINTS[precision]})
        threads = compiled.get_property("INFERENCE_NUM_THREADS")
        self.machine = f"{core.get_property('CPU', 'FULL_DEVICE_NAME').strip()}, {threads} threads"
        self._request = compiled.create_infer_request()

    def run(self, inputs: Arrays) -> Arrays:
        """Return outputs by name for inputs by name."""
        self._request.infer(dict(inputs))
        return {port.name: self._request.get_tensor(port.name).data.copy() for port in self.outputs}


def _port(port: ov.Output) -> Port:
    kind = port.get_element_type().get_type_name()
    dims = tuple(size.get_length() if size.is_static else None for size in port.partial_shape)
    return Port(port.get_any_name(), DTYPES.get(kind, kind), dims)
