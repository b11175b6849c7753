"""Run a graph in ONNX Runtime on the CPU, with a stated number of threads."""

import os
from pathlib import Path

import onnxruntime

from training.export.contract.tensors import Arrays
from training.export.proof.openvino_engine import cpu_name

ERRORS = 3  # log only errors: the warnings are about weights that a branch does not need


class OnnxRuntimeEngine:
    """Runs a graph in one session, one run at a time."""

    def __init__(self, graph_path: Path, threads: int | None = None) -> None:
        # By default, a session binds one thread to each core of the machine, even to forbidden cores.
        count = threads or len(os.sched_getaffinity(0))
        self._session = onnxruntime.InferenceSession(
            os.fspath(graph_path), session_options(count), providers=["CPUExecutionProvider"]
        )
        self.machine = f"{cpu_name()}, {count} threads, ONNX Runtime"

    def run(self, inputs: Arrays) -> Arrays:
        """Run the graph once and return the outputs; inputs and outputs are by name."""
        names = [port.name for port in self._session.get_outputs()]
        return dict(zip(names, self._session.run(names, dict(inputs)), strict=True))


def session_options(threads: int) -> onnxruntime.SessionOptions:
    """Return options that run one operator at a time, on the given number of threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Idle threads of one session must not take the cores of the next one.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = ERRORS
    return options
