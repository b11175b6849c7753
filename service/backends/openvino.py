"""OpenVINO inside this process: the default way to run a graph."""

import queue
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from service.artifact.manifest import Manifest
from service.artifact.repository import Artifact
from service.backends.protocol import Call
from service.backends.threads import Threads
from service.errors import ArtifactBroken, BackendFailed
from service.settings import OpenVinoSettings

# int8 lives in the graph's own quantisation nodes; what is left in float stays float32.
_PRECISION = {"f32": "f32", "bf16": "bf16", "f16": "f16", "int8": "f32"}


class OpenVinoBackend:
    """A compiled graph and a pool of requests for it: one image each, as many at once as workers."""

    def __init__(self, artifact: Artifact, settings: OpenVinoSettings, workers: int) -> None:
        """Compile the graph.

        Args:
            artifact: the model, its files verified.
            settings: how to share the cores.
            workers: how many images may be inferred at the same time.

        Raises:
            ArtifactBroken: OpenVINO cannot read the graph, it lacks an input or output of the manifest, or
                this CPU cannot compute in its precision.
        """
        self._manifest = artifact.manifest
        try:
            core = ov.Core()
            check_capabilities(artifact, core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
            model = core.read_model(artifact.graph)
            self._compiled = core.compile_model(
                model, "CPU", _engine_config(artifact.manifest, settings, workers)
            )
        except RuntimeError as error:
            raise ArtifactBroken(f"OpenVINO cannot load {artifact.graph}: {_first_line(error)}") from error
        _check_ports(artifact, self._compiled)
        self._threads = Threads(workers, "openvino")
        self._idle: queue.LifoQueue[ov.InferRequest] = queue.LifoQueue()
        for _ in range(workers):
            self._idle.put(self._compiled.create_infer_request())

    async def infer(
        self, images: NDArray[np.uint8], top_k: int | None, weight_threshold: float | None, call: Call
    ) -> Mapping[str, NDArray[Any]]:
        """Run (B, H, W, 3) RGB in a thread; return copies of the manifest's outputs by name.

        Raises:
            DeadlineExceeded: there was no answer in time.
            BackendFailed: the batch is not one the graph was made for, or OpenVINO refused the input.
        """
        return await self._threads.run(call, partial(self._run, images, top_k, weight_threshold))

    async def close(self) -> None:
        """Drop the requests; OpenVINO frees the graph with the last of them."""
        self._threads.close()
        while not self._idle.empty():
            self._idle.get_nowait()
        del self._compiled

    def _run(
        self, images: NDArray[np.uint8], top_k: int | None, weight_threshold: float | None
    ) -> Mapping[str, NDArray[Any]]:
        batch = images.shape[0]
        if batch not in self._manifest.input.batch:
            allowed = ", ".join(map(str, self._manifest.input.batch))
            raise BackendFailed(f"this graph takes batches of {allowed}, not {batch}")
        inputs: dict[str, NDArray[Any]] = {"images": np.ascontiguousarray(images)}
        if top_k is not None:
            inputs["top_k"] = np.full((batch, 1), top_k, dtype=np.int64)
        if weight_threshold is not None:
            inputs["weight_threshold"] = np.full((batch, 1), weight_threshold, dtype=np.float32)
        request = self._idle.get()
        try:
            request.infer(inputs, share_inputs=True)
            # Copied: the next request on this slot overwrites the engine's memory.
            return {name: request.get_tensor(name).data.copy() for name in self._manifest.output_names}
        except RuntimeError as error:
            raise BackendFailed(f"OpenVINO refused the input: {_first_line(error)}") from error
        finally:
            self._idle.put(request)


def check_capabilities(artifact: Artifact, capabilities: Collection[str]) -> None:
    """Refuse what this CPU would silently compute in another precision than was proved.

    Raises:
        ArtifactBroken: says what to do.
    """
    if artifact.manifest.precision == "bf16" and "BF16" not in capabilities:
        raise ArtifactBroken(
            f"{artifact.graph} was proved in bf16, and this CPU does not compute in it: "
            "serve an export in f32 or int8 here"
        )


def _engine_config(manifest: Manifest, settings: OpenVinoSettings, workers: int) -> dict[str, Any]:
    config: dict[str, Any] = {
        # Pinned: on some CPUs OpenVINO chooses bf16 by itself, and bf16 moves experts.
        "INFERENCE_PRECISION_HINT": _PRECISION[manifest.precision],
        "PERFORMANCE_HINT": settings.performance.upper(),
        "PERFORMANCE_HINT_NUM_REQUESTS": workers,
    }
    if settings.threads:
        config["INFERENCE_NUM_THREADS"] = settings.threads
    if settings.streams:
        config["NUM_STREAMS"] = settings.streams
    if settings.cache_dir is not None:
        config["CACHE_DIR"] = str(settings.cache_dir)
    return config


def _check_ports(artifact: Artifact, compiled: ov.CompiledModel) -> None:
    controls = artifact.manifest.controls
    wanted_inputs = {"images"}
    if controls.top_k is not None:
        wanted_inputs.add("top_k")
    if controls.weight_threshold is not None:
        wanted_inputs.add("weight_threshold")
    inputs = {name for port in compiled.inputs for name in port.get_names()}
    outputs = {name for port in compiled.outputs for name in port.get_names()}
    unfed = [sorted(port.get_names()) for port in compiled.inputs if not port.get_names() & wanted_inputs]
    missing = sorted(wanted_inputs - inputs) + sorted(set(artifact.manifest.output_names) - outputs)
    if missing or unfed:
        facts = f"lacks {missing}" if missing else f"has inputs that the manifest does not know: {unfed}"
        raise ArtifactBroken(f"{artifact.graph} {facts}")


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
