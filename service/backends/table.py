"""List the backends in one table; the rest of the service knows a backend only by its row."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from service.artifact.repository import Artifact
from service.backends.engine import Engine
from service.backends.in_process import AHEAD
from service.backends.paths import PathBackend, usual_top_ks
from service.backends.protocol import Backend
from service.settings import BackendName, Settings


@dataclass(frozen=True, kw_only=True)
class BackendKind:
    """The properties of a backend, and the function that opens a model with it."""

    runs: frozenset[str]  # export targets that the backend can run
    target: Callable[[Settings], str]  # the export target that the settings choose
    limit: Callable[[Settings], int]  # maximum number of images at once; further images wait in this process
    open: Callable[[Artifact, Settings], Backend] | None
    """A function that loads a model in this process; None if the backend is a server with its own models."""


def _openvino(artifact: Artifact, settings: Settings) -> Backend:
    from service.backends.openvino import OpenVinoBackend, OpenVinoEngine

    if artifact.manifest.paths is not None:
        engine = OpenVinoEngine(artifact, settings.openvino, settings.workers)
        return _with_paths("openvino", artifact, engine, settings)
    return OpenVinoBackend(artifact, settings.openvino, settings.workers)


def _onnx(artifact: Artifact, settings: Settings) -> Backend:
    from service.backends.onnx import OnnxBackend, OnnxEngine

    if artifact.manifest.paths is not None:
        return _with_paths("onnx", artifact, OnnxEngine(settings.onnx, settings.workers), settings)
    return OnnxBackend(artifact, settings.onnx, settings.workers)


def _with_paths(name: BackendName, artifact: Artifact, engine: Engine, settings: Settings) -> Backend:
    top_ks = usual_top_ks(artifact.manifest, settings.brownout.min_top_k)
    return PathBackend(name, artifact, engine, workers=settings.workers, top_ks=top_ks)


BACKENDS: Mapping[BackendName, BackendKind] = {
    "openvino": BackendKind(
        runs=frozenset({"openvino", "onnx", "npu"}),
        target=lambda settings: settings.target,
        limit=lambda settings: settings.workers + AHEAD,
        open=_openvino,
    ),
    "onnx": BackendKind(
        runs=frozenset({"onnx", "npu"}),
        target=lambda settings: settings.onnx.target,
        limit=lambda settings: settings.workers + AHEAD,
        open=_onnx,
    ),
    "triton": BackendKind(
        runs=frozenset({"openvino", "onnx", "npu", "tensorrt"}),
        target=lambda settings: settings.triton.target,
        limit=lambda settings: settings.triton.max_inflight,
        open=None,
    ),
}
