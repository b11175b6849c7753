"""Run graphs with ONNX Runtime inside this process, on the CPU or on a GPU that onnxruntime-gpu finds."""

from collections.abc import Iterable, Mapping
from typing import Any

import onnxruntime
from numpy.typing import NDArray

from service.artifact.repository import Artifact
from service.backends.contract import Port, check_batch, check_ports
from service.backends.in_process import InProcessBackend
from service.cores import usable_cores
from service.errors import ArtifactBroken, BackendFailed, SettingsInvalid
from service.settings import OnnxSettings
from service.types import RawOutputs

_DTYPES = {"uint8": "u8", "int32": "i32", "int64": "i64", "float16": "f16", "float": "f32"}
_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"
_ERRORS_ONLY = 3


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
        self._names = [row.name for row in artifact.manifest.outputs]
        graph = artifact.graph
        try:
            self._session = onnxruntime.InferenceSession(
                str(graph), session_options(settings), providers=_providers(settings)
            )
        except Exception as error:  # the library's errors have no other common base class
            raise ArtifactBroken(f"ONNX Runtime cannot load {graph}: {_first_line(error)}") from error
        if settings.device == "cuda" and _CUDA not in self._session.get_providers():
            raise SettingsInvalid("SPARSIGHT_ONNX__DEVICE is cuda, but ONNX Runtime finds no CUDA device")
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        check_ports(self._manifest, str(graph), _ports(inputs), _ports(outputs))
        super().__init__("onnx", workers=workers, at_once=workers, streams=workers)

    async def close(self) -> None:
        """Wait for the jobs that are running, and free the session."""
        await super().close()
        del self._session

    def compute(self, inputs: Mapping[str, NDArray[Any]]) -> RawOutputs:
        """Run the graph in the calling thread; return the outputs by their names in the manifest.

        Raises:
            BackendFailed: the graph does not support the batch size, or ONNX Runtime refused the input.
        """
        check_batch(self._manifest, inputs)
        try:
            answer = self._session.run(self._names, dict(inputs))
        except Exception as error:  # as in __init__
            raise BackendFailed(f"ONNX Runtime refused the input: {_first_line(error)}") from error
        return dict(zip(self._names, answer, strict=True))


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
