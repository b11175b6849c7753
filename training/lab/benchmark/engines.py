"""What runs a graph: an engine prepares one with its inputs, and gives back a call that runs it once."""

import os
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol, assert_never

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from training.errors import ConfigError
from training.export.proof.openvino_engine import cpu_capabilities

EngineName = Literal["openvino", "onnxruntime", "torch", "onnxruntime-cuda", "torch-cuda"]
BenchmarkPrecision = Literal["f32", "bf16"]

Inputs = Mapping[str, NDArray[Any]]
Run = Callable[[], object]
Source = Path | nn.Module  # of torch: a module that takes the inputs in their order

ON_TORCH: tuple[EngineName, ...] = ("torch", "torch-cuda")
ON_GPU: tuple[EngineName, ...] = ("onnxruntime-cuda", "torch-cuda")


class Engine(Protocol):
    """Runs graphs with one precision and one number of threads."""

    def prepare(self, source: Source, inputs: Inputs) -> Run:
        """Load the graph, unless it is loaded already, and keep the inputs at hand."""


def require_engine(name: EngineName, precision: BenchmarkPrecision) -> None:
    """Raises ConfigError where an engine cannot run here, before anything is traced for it."""
    if precision != "f32" and name != "openvino":
        raise ConfigError(f"engine {name} runs f32 here; --precision {precision} is for openvino")
    if precision == "bf16" and "BF16" not in cpu_capabilities():
        raise ConfigError("this CPU does not compute in bf16; leave --precision bf16 out")
    match name:
        case "onnxruntime" | "onnxruntime-cuda":
            if find_spec("onnxruntime") is None:
                raise ConfigError(
                    f"engine {name} is not installed: pip install onnxruntime, or -gpu with CUDA"
                )
            import onnxruntime

            if name == "onnxruntime-cuda" and not (
                torch.cuda.is_available() and _CUDA in onnxruntime.get_available_providers()
            ):
                raise ConfigError(
                    "engine onnxruntime-cuda needs an NVIDIA GPU, and onnxruntime-gpu for onnxruntime. "
                    "Leave it out, or run the benchmark on such a machine"
                )
        case "torch-cuda":
            if not torch.cuda.is_available():
                raise ConfigError(
                    "engine torch-cuda needs an NVIDIA GPU; here is none. "
                    "Leave it out, or run the benchmark on such a machine"
                )


def open_engine(name: EngineName, precision: BenchmarkPrecision, threads: int) -> Engine:
    """An engine that require_engine let pass."""
    match name:
        case "openvino":
            return OpenVinoEngine(precision, threads)
        case "onnxruntime":
            return OnnxRuntimeEngine(threads, on_gpu=False)
        case "onnxruntime-cuda":
            return OnnxRuntimeEngine(threads, on_gpu=True)
        case "torch":
            return TorchEngine(threads, "cpu")
        case "torch-cuda":
            return TorchEngine(threads, "cuda")
        case _:
            assert_never(name)


class OpenVinoEngine:
    """OpenVINO on the CPU, one request at a time."""

    def __init__(self, precision: BenchmarkPrecision, threads: int, *, profiling: bool = False) -> None:
        import openvino as ov

        self._core = ov.Core()
        self._settings = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": str(threads),
            "NUM_STREAMS": "1",
            "PERFORMANCE_HINT": "LATENCY",
            "PERF_COUNT": "YES" if profiling else "NO",
        }
        self._compiled: dict[object, Any] = {}

    def prepare(self, source: Source, inputs: Inputs) -> Run:
        """A request of its own for each call, so that inputs are set once."""
        return self.request(source, inputs).infer

    def request(self, source: Source, inputs: Inputs) -> Any:
        """OpenVINO's own request, with these inputs."""
        request = self._compile(source, inputs).create_infer_request()
        for name, values in inputs.items():
            request.get_tensor(name).data[:] = values
        return request

    def _compile(self, source: Source, inputs: Inputs) -> Any:
        shapes = {name: values.shape for name, values in inputs.items()}
        key = (source, tuple(shapes.items()))
        if key not in self._compiled:
            model = self._core.read_model(source)
            if model.is_dynamic():
                model.reshape(shapes)
            self._compiled[key] = self._core.compile_model(model, "CPU", self._settings)
        return self._compiled[key]


_CUDA = "CUDAExecutionProvider"


class OnnxRuntimeEngine:
    """ONNX Runtime on the CPU or on a GPU; there a run takes its inputs from the host and answers to it."""

    def __init__(self, threads: int, *, on_gpu: bool) -> None:
        import onnxruntime

        from training.export.proof.onnxruntime_engine import session_options

        self._library = onnxruntime
        self._providers = [_CUDA] if on_gpu else ["CPUExecutionProvider"]
        self._options = session_options(threads)
        self._sessions: dict[Source, Any] = {}

    def prepare(self, source: Source, inputs: Inputs) -> Run:
        """A session for each graph."""
        assert isinstance(source, Path)
        if source not in self._sessions:
            self._sessions[source] = self._library.InferenceSession(
                os.fspath(source), self._options, providers=self._providers
            )
        session, values = self._sessions[source], dict(inputs)
        return lambda: session.run(None, values)


class TorchEngine:
    """PyTorch, eager."""

    def __init__(self, threads: int, device: Literal["cpu", "cuda"]) -> None:
        self._device = device
        self._threads = threads

    def prepare(self, source: Source, inputs: Inputs) -> Run:
        """The module on its device, and the inputs beside it."""
        assert isinstance(source, nn.Module)
        module = source.to(self._device)
        values = [torch.from_numpy(np.ascontiguousarray(value)).to(self._device) for value in inputs.values()]

        def run() -> object:
            if torch.get_num_threads() != self._threads:
                torch.set_num_threads(self._threads)
            with torch.inference_mode():
                answer = module(*values)
                if self._device == "cuda":
                    torch.cuda.synchronize()
            return answer

        return run
