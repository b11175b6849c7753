"""Run graphs with ONNX Runtime inside this process, on the CPU or on a GPU that onnxruntime-gpu finds."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime
from numpy.typing import NDArray

from service.artifact.repository import Artifact
from service.backends.contract import Port, Tensors, check_batch, check_ports
from service.backends.engine import Load
from service.backends.in_process import InProcessBackend
from service.cores import usable_cores
from service.errors import ArtifactBroken, BackendFailed, SettingsInvalid
from service.settings import OnnxSettings
from service.types import RawOutputs

_DTYPES = {"uint8": "u8", "int32": "i32", "int64": "i64", "float16": "f16", "float": "f32"}
_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"
_ERRORS_ONLY = 3


class OnnxGraph:
    """One ONNX Runtime session for a graph; calls share the session's threads."""

    def __init__(self, session: onnxruntime.InferenceSession, outputs: Sequence[str], streams: int) -> None:
        """Use a session; `outputs` names the outputs to return."""
        self._session = session
        self._outputs = list(outputs)
        self.streams = streams

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> RawOutputs:
        """Run the graph in the calling thread; return the outputs by their names.

        Raises:
            BackendFailed: ONNX Runtime refused the input.
        """
        try:
            answer = self._session.run(self._outputs, dict(inputs))
        except Exception as error:  # the library's errors have no other common base class
            raise BackendFailed(f"ONNX Runtime refused the input: {_first_line(error)}") from error
        return dict(zip(self._outputs, answer, strict=True))


class OnnxEngine:
    """ONNX Runtime, with its settings."""

    def __init__(self, settings: OnnxSettings, workers: int) -> None:
        """Prepare to read graphs; at most `workers` calls run at the same time."""
        self._settings = settings
        self._workers = workers

    def read(self, path: Path, tensors: Tensors, *, in_f32: bool = False) -> Load:
        """Read a graph; see `Engine.read`. The engine computes in the precision of the file in any case."""
        content = path.read_bytes()
        quick = session_options(self._settings)
        quick.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        _check(_session(path, content, quick, [_CPU]), path, tensors)
        return lambda: self.load(path, tensors, content)

    def load(self, path: Path, tensors: Tensors, content: bytes | None = None) -> OnnxGraph:
        """Load a graph from its file, or from the content of the file.

        Raises:
            SettingsInvalid: the settings require a GPU, and ONNX Runtime finds none.
            ArtifactBroken: ONNX Runtime cannot load the graph, or an input or output differs from `tensors`.
        """
        source = str(path) if content is None else content
        session = _session(path, source, session_options(self._settings), _providers(self._settings))
        if self._settings.device == "cuda" and _CUDA not in session.get_providers():
            raise SettingsInvalid("SPARSIGHT_ONNX__DEVICE is cuda, but ONNX Runtime finds no CUDA device")
        _check(session, path, tensors)
        return OnnxGraph(session, [row.name for row in tensors.outputs], self._workers)


class OnnxBackend(InProcessBackend):
    """One ONNX Runtime session for a graph; up to `workers` calls share the session's threads."""

    def __init__(self, artifact: Artifact, settings: OnnxSettings, workers: int) -> None:
        """Load the graph.

        Args:
            artifact: the model, whose files have been verified.
            settings: the device and the numbers of threads.
            workers: maximum number of calls at the same time.

        Raises:
            SettingsInvalid: the settings require a GPU, and ONNX Runtime finds none.
            ArtifactBroken: ONNX Runtime cannot load the graph, or an input or output differs from the
                manifest.
        """
        self._manifest = artifact.manifest
        self._graph = OnnxEngine(settings, workers).load(artifact.graph, artifact.manifest)
        super().__init__("onnx", workers=workers, at_once=workers, streams=workers)

    async def close(self) -> None:
        """Wait for the jobs that are running, and free the session."""
        await super().close()
        del self._graph

    def compute(self, inputs: Mapping[str, NDArray[Any]]) -> RawOutputs:
        """Run the graph in the calling thread; return the outputs by their names in the manifest.

        Raises:
            BackendFailed: the graph does not support the batch size, or ONNX Runtime refused the input.
        """
        check_batch(self._manifest, inputs)
        return self._graph.run(inputs)


def session_options(settings: OnnxSettings) -> onnxruntime.SessionOptions:
    """Return session options with a fixed number of threads that do not spin.

    By default, ONNX Runtime pins a thread to every core of the machine, even to cores that this process may
    not use. Its threads also spin while they wait, which would take cores from the image decoders.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.intra_op_threads or usable_cores()
    options.inter_op_num_threads = settings.inter_op_threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = _ERRORS_ONLY
    return options


def _check(session: onnxruntime.InferenceSession, path: Path, tensors: Tensors) -> None:
    check_ports(tensors, str(path), _ports(session.get_inputs()), _ports(session.get_outputs()))


def _session(
    path: Path, source: str | bytes, options: onnxruntime.SessionOptions, providers: Sequence[Any]
) -> onnxruntime.InferenceSession:
    try:
        return onnxruntime.InferenceSession(source, options, providers=providers)
    except Exception as error:  # as in OnnxGraph.run
        raise ArtifactBroken(f"ONNX Runtime cannot load {path}: {_first_line(error)}") from error


def _providers(settings: OnnxSettings) -> list[str | tuple[str, dict[str, str]]]:
    if settings.device == "cpu" or _CUDA not in onnxruntime.get_available_providers():
        return [_CPU]
    # TF32 rounds more than float32, in which the export was checked, and rounding changes chosen experts.
    return [(_CUDA, {"use_tf32": "0"}), _CPU]


def _ports(nodes: Iterable[Any]) -> list[Port]:
    ports = []
    for node in nodes:
        kind = node.type.removeprefix("tensor(").removesuffix(")")
        dims = tuple(dim if isinstance(dim, int) else None for dim in node.shape)
        ports.append(Port(node.name, _DTYPES.get(kind, kind), dims))
    return ports


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
