"""Run graphs with OpenVINO inside this process; OpenVINO is the default backend."""

import os
import queue
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from service.artifact.manifest import Manifest
from service.artifact.repository import Artifact
from service.artifact.tensors import TensorRow
from service.backends.contract import Port, Tensors, check_batch, check_ports
from service.backends.engine import Load
from service.backends.in_process import AHEAD, InProcessBackend
from service.cores import allowed_cores, usable_cores
from service.errors import ArtifactBroken, BackendFailed
from service.settings import OpenVinoSettings
from service.types import RawOutputs

# An int8 graph contains its own quantisation nodes; its other nodes run in float32.
_PRECISION = {"f32": "f32", "bf16": "bf16", "f16": "f16", "int8": "f32"}
_HINT = "INFERENCE_PRECISION_HINT"
_DTYPES = {"boolean": "bool"}  # OpenVINO's other names equal the manifest's


class OpenVinoGraph:
    """A compiled graph, with infer requests for several images at once."""

    def __init__(self, compiled: ov.CompiledModel, outputs: Sequence[str], requests: int) -> None:
        """Create the infer requests; `outputs` names the outputs to return."""
        self._compiled = compiled
        self._outputs = outputs
        self._idle: queue.LifoQueue[ov.InferRequest] = queue.LifoQueue()
        for _ in range(requests):
            self._idle.put(compiled.create_infer_request())

    @property
    def precision(self) -> str:
        """Return the precision in which OpenVINO computes, such as f32."""
        return str(self._compiled.get_property(_HINT).to_string())

    @property
    def streams(self) -> int:
        """Return how many runs OpenVINO computes at the same time."""
        return int(self._compiled.get_property("NUM_STREAMS"))

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> RawOutputs:
        """Run the graph in the calling thread; return copies of the outputs by their names.

        Raises:
            BackendFailed: OpenVINO refused the input.
        """
        request = self._idle.get()
        try:
            whole = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
            outputs = request.infer(whole, share_inputs=True, share_outputs=True)
            # Copied, because the next call with this infer request overwrites the engine's memory.
            return {name: outputs[name].copy() for name in self._outputs}
        except RuntimeError as error:
            raise BackendFailed(f"OpenVINO refused the input: {_first_line(error)}") from error
        finally:
            self._idle.put(request)


class OpenVinoEngine:
    """OpenVINO on the CPU, with the settings for the graphs of one artifact."""

    def __init__(self, artifact: Artifact, settings: OpenVinoSettings, workers: int) -> None:
        """Prepare to read graphs.

        Args:
            artifact: the model, whose files have been verified.
            settings: threads and their pinning, streams, performance hint and cache folder.
            workers: maximum number of calls at the same time.

        Raises:
            ArtifactBroken: this CPU does not support the precision of the artifact.
        """
        # OpenVINO 2026.4 fills its table of dtypes at the first use. If several threads were the first at
        # the same time, one could hold the table's lock and wait for the GIL, and all would hang.
        ov.Type.u8.to_dtype()
        self._core = ov.Core()
        check_capabilities(artifact, self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
        # Otherwise OpenVINO would compute with the pages of the file. If somebody overwrote the file,
        # answers would change; if somebody cut it short, the process would be killed.
        self._core.set_property({"ENABLE_MMAP": False})
        self._config = _engine_config(artifact.manifest, settings, workers)
        graphs = artifact.manifest.graphs
        self._weights = {artifact.folder / graph.file: graph.weights for graph in graphs if graph.weights}
        self._shared: dict[Path, ov.Tensor] = {}  # content of files that graphs share
        self._requests = workers + AHEAD  # those beyond the streams wait in the engine's queue

    def read(self, path: Path, tensors: Tensors, *, in_f32: bool = False) -> Load:
        """Read a graph; see `Engine.read`. The function that loads it must be called at most once."""
        model: ov.Model | None = self._model(path)
        assert model is not None
        inputs, outputs = _ports(model.inputs, tensors.inputs), _ports(model.outputs, tensors.outputs)
        check_ports(tensors, str(path), inputs, outputs)
        config = {**self._config, _HINT: "f32"} if in_f32 else self._config

        def load() -> OpenVinoGraph:
            nonlocal model
            assert model is not None, "a graph is loaded once"
            try:
                compiled = self._core.compile_model(model, "CPU", config)
            except RuntimeError as error:
                raise ArtifactBroken(f"OpenVINO cannot load {path}: {_first_line(error)}") from error
            model = None  # frees a copy of the weights
            return OpenVinoGraph(compiled, [row.name for row in tensors.outputs], self._requests)

        return load

    def _model(self, path: Path) -> ov.Model:
        """Return a graph, with weights from its own file or from the one that several graphs share."""
        weights = self._weights.get(path)
        try:
            if weights is None:
                return self._core.read_model(path)
            return self._core.read_model(path.read_text("utf-8"), self._content(path.with_name(weights)))
        except (OSError, RuntimeError, UnicodeDecodeError) as error:
            of = "" if weights is None else f" with {weights}"
            raise ArtifactBroken(f"OpenVINO cannot load {path}{of}: {_first_line(error)}") from error

    def _content(self, weights: Path) -> ov.Tensor:
        if weights not in self._shared:
            with weights.open("rb") as file:
                content = ov.Tensor(ov.Type.u8, ov.Shape([os.fstat(file.fileno()).st_size]))
                file.readinto(content.data)
            self._shared[weights] = content
        return self._shared[weights]


class OpenVinoBackend(InProcessBackend):
    """A compiled graph, with infer requests for `workers` images and for those in the engine's queue."""

    def __init__(self, artifact: Artifact, settings: OpenVinoSettings, workers: int) -> None:
        """Compile the graph.

        Args:
            artifact: the model, whose files have been verified.
            settings: threads and their pinning, streams, performance hint and cache folder.
            workers: maximum number of calls at the same time.

        Raises:
            ArtifactBroken: OpenVINO cannot read the graph, an input or output differs from the manifest, or
                this CPU does not support the graph's precision.
        """
        self._manifest = artifact.manifest
        engine = OpenVinoEngine(artifact, settings, workers)
        self._graph = engine.read(artifact.graph, artifact.manifest)()
        at_once = workers + AHEAD  # the others wait in the engine's queue, where no stream waits for Python
        super().__init__("openvino", workers=workers, at_once=at_once, streams=self._graph.streams)

    async def close(self) -> None:
        """Wait for the jobs that are running, and free the requests and the graph."""
        await super().close()
        del self._graph

    def compute(self, inputs: Mapping[str, NDArray[Any]]) -> RawOutputs:
        """Run the graph in the calling thread; return copies of the outputs by their names in the manifest.

        Raises:
            BackendFailed: the graph does not support the batch size, or OpenVINO refused the input.
        """
        check_batch(self._manifest, inputs)
        return self._graph.run(inputs)


def check_capabilities(artifact: Artifact, capabilities: Collection[str]) -> None:
    """Check that this CPU supports the precision of a graph; OpenVINO would silently use another precision.

    Raises:
        ArtifactBroken: the graph is in bf16, and this CPU does not support bf16.
    """
    if artifact.manifest.precision == "bf16" and "BF16" not in capabilities:
        raise ArtifactBroken(
            f"{artifact.folder} is in bf16, which this CPU does not support; "
            "serve an export in f32 or int8 here"
        )


def _engine_config(manifest: Manifest, settings: OpenVinoSettings, workers: int) -> dict[str, Any]:
    config: dict[str, Any] = {
        # On some CPUs OpenVINO chooses bf16 by default, and the rounding of bf16 changes the chosen experts.
        _HINT: _PRECISION[manifest.precision],
        "PERFORMANCE_HINT": settings.performance.upper(),
        "PERFORMANCE_HINT_NUM_REQUESTS": workers,
        # Pinned threads take the first cores in every process, so two processes would share these cores.
        "ENABLE_CPU_PINNING": settings.pin_threads,
    }
    if threads := settings.threads or _threads_by_quota():
        config["INFERENCE_NUM_THREADS"] = threads
    if settings.streams:
        config["NUM_STREAMS"] = settings.streams
    if settings.cache_dir is not None:
        config["CACHE_DIR"] = str(settings.cache_dir)
    return config


def _threads_by_quota() -> int | None:
    """Return the number of threads that a CPU quota allows; None if no quota is below the affinity's cores.

    OpenVINO itself obeys the affinity, and knows which logical cores share a physical core. It ignores
    quotas.
    """
    cores = usable_cores()
    return cores if cores < allowed_cores() else None


def _ports(ports: Iterable[ov.Output], rows: Iterable[TensorRow]) -> list[Port]:
    """Return the engine's ports; if a port has several names, use the name that the manifest uses."""
    wanted = {row.name for row in rows}
    described = []
    for port in ports:
        names = sorted(port.get_names())
        name = next((name for name in names if name in wanted), names[0] if names else "without a name")
        dims = tuple(dim.get_length() if dim.is_static else None for dim in port.get_partial_shape())
        described.append(Port(name, _DTYPES.get(kind := port.get_element_type().to_string(), kind), dims))
    return described


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
