"""Engines that run graphs: an engine loads a graph and its inputs, and returns a function that runs them."""

import os
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from training.errors import ConfigError
from training.export.graph.int8 import check_nncf
from training.export.proof.openvino_engine import HINTS, cpu_capabilities, open_cpu

EngineName = Literal["openvino", "onnxruntime", "torch", "onnxruntime-cuda", "torch-cuda"]
FloatPrecision = Literal["f32", "bf16"]
BenchmarkPrecision = Literal["f32", "bf16", "int8"]

Inputs = Mapping[str, NDArray[Any]]
Run = Callable[[], object]
Source = Path | nn.Module  # for torch: a module that takes the inputs in their order
Prepare = Callable[[Source, Inputs], Run]  # loads each source only once

ON_TORCH: tuple[EngineName, ...] = ("torch", "torch-cuda")
ON_GPU: tuple[EngineName, ...] = ("onnxruntime-cuda", "torch-cuda")
_CUDA = "CUDAExecutionProvider"


def require_engine(name: EngineName, precision: BenchmarkPrecision) -> None:
    """Check that an engine can run on this machine; call this before any graph is traced.

    Raises:
        ConfigError: the machine lacks the engine, or cannot compute in the precision.
        ExportError: the library that quantises graphs is not installed.
    """
    if precision != "f32" and name != "openvino":
        raise ConfigError(f"engine {name} runs f32 here; --precision {precision} is for openvino")
    if precision == "bf16" and "BF16" not in cpu_capabilities():
        raise ConfigError("this CPU does not compute in bf16; leave --precision bf16 out")
    if precision == "int8":
        check_nncf()
    if name.startswith("onnxruntime") and find_spec("onnxruntime") is None:
        raise ConfigError(f"engine {name} is not installed: pip install onnxruntime, or -gpu with CUDA")
    if name in ON_GPU and not (
        torch.cuda.is_available() and (name == "torch-cuda" or _onnxruntime_has_cuda())
    ):
        also = "" if name == "torch-cuda" else ", and onnxruntime-gpu for onnxruntime"
        raise ConfigError(
            f"engine {name} needs an NVIDIA GPU{also}. Leave it out, or use a machine with a GPU"
        )


def _onnxruntime_has_cuda() -> bool:
    import onnxruntime

    return _CUDA in onnxruntime.get_available_providers()


def open_engine(name: EngineName, precision: BenchmarkPrecision, threads: int) -> Prepare:
    """Return the engine called `name`; the caller must have called require_engine for it."""
    if name == "openvino":
        engine = OpenVinoEngine(precision, threads)
        return lambda source, inputs: engine.request(source, inputs).infer
    if name in ON_TORCH:
        return _torch(threads, "cuda" if name in ON_GPU else "cpu")
    return _onnxruntime(threads, _CUDA if name in ON_GPU else "CPUExecutionProvider")


class OpenVinoEngine:
    """OpenVINO on the CPU, one request at a time."""

    def __init__(self, precision: BenchmarkPrecision, threads: int, *, profiling: bool = False) -> None:
        self._core = open_cpu()
        self._settings = {
            "INFERENCE_PRECISION_HINT": HINTS[precision],
            "INFERENCE_NUM_THREADS": str(threads),
            "NUM_STREAMS": "1",
            "PERFORMANCE_HINT": "LATENCY",
            "PERF_COUNT": "YES" if profiling else "NO",
        }
        self._compiled: dict[object, Any] = {}

    def request(self, source: Source, inputs: Inputs) -> Any:
        """Return a new inference request that holds `inputs`.

        The graph in `source` is compiled on the first request for each set of input shapes. Later requests
        with the same shapes use the compiled graph again.
        """
        shapes = {name: values.shape for name, values in inputs.items()}
        key = (source, tuple(shapes.items()))
        if key not in self._compiled:
            model = self._core.read_model(source)
            if model.is_dynamic():
                model.reshape(shapes)
            self._compiled[key] = self._core.compile_model(model, "CPU", self._settings)
        request = self._compiled[key].create_infer_request()
        for name, values in inputs.items():
            request.get_tensor(name).data[:] = values
        return request


def _onnxruntime(threads: int, provider: str) -> Prepare:
    """Return ONNX Runtime as an engine.

    On a GPU, each run copies the inputs to the GPU, and the outputs back to the host.
    """
    import onnxruntime

    from training.export.proof.onnxruntime_engine import session_options

    options = session_options(threads)
    sessions: dict[Source, Any] = {}

    def prepare(source: Source, inputs: Inputs) -> Run:
        assert isinstance(source, Path)
        if source not in sessions:
            sessions[source] = onnxruntime.InferenceSession(os.fspath(source), options, providers=[provider])
        session, values = sessions[source], dict(inputs)
        return lambda: session.run(None, values)

    return prepare


def _torch(threads: int, device: Literal["cpu", "cuda"]) -> Prepare:
    def prepare(source: Source, inputs: Inputs) -> Run:
        assert isinstance(source, nn.Module)
        module = source.to(device)
        values = [torch.from_numpy(np.ascontiguousarray(value)).to(device) for value in inputs.values()]

        def run() -> object:
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)
            with torch.inference_mode():
                answer = module(*values)
                if device == "cuda":
                    torch.cuda.synchronize()
            return answer

        return run

    return prepare
