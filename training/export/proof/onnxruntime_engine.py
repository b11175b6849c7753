"""ONNX Runtime on the CPU, its threads stated."""

import os
from pathlib import Path
from typing import Any

import onnxruntime
import openvino as ov

from training.export.contract.tensors import Arrays
from training.export.proof.engine import Port

DTYPES = {
    "tensor(uint8)": "u8",
    "tensor(int32)": "i32",
    "tensor(int64)": "i64",
    "tensor(float16)": "f16",
    "tensor(float)": "f32",
    "tensor(bool)": "bool",
}
ERRORS = 3  # severity: its warnings are about weights that a branch does not need


class OnnxRuntimeEngine:
    """One session, one run at a time."""

    def __init__(self, graph_path: Path, threads: int | None = None) -> None:
        # Left to itself it makes a thread for every core of the machine and binds it there, allowed or not.
        count = threads or len(os.sched_getaffinity(0))
        options = session_options(count)
        self._session = onnxruntime.InferenceSession(
            os.fspath(graph_path), options, providers=["CPUExecutionProvider"]
        )
        self.inputs = tuple(_port(each) for each in self._session.get_inputs())
        self.outputs = tuple(_port(each) for each in self._session.get_outputs())
        name = ov.Core().get_property("CPU", "FULL_DEVICE_NAME").strip()
        self.machine = f"{name}, {count} threads, ONNX Runtime"

    def run(self, inputs: Arrays) -> Arrays:
        """Return outputs by name for inputs by name."""
        names = [port.name for port in self.outputs]
        return dict(zip(names, self._session.run(names, dict(inputs)), strict=True))


def session_options(threads: int) -> onnxruntime.SessionOptions:
    """Return options for so many threads within an operator, one operator at a time."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Idle threads of one session must not take the cores of the next one.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = ERRORS
    return options


def _port(port: Any) -> Port:
    dims = tuple(size if isinstance(size, int) else None for size in port.shape)
    return Port(port.name, DTYPES.get(port.type, port.type), dims)
