"""Chooses the code that runs a model."""

from typing import Literal, assert_never

from service.artifact.repository import Artifact
from service.backends.protocol import Backend
from service.settings import Settings

BackendName = Literal["openvino"]


def open_backend(name: BackendName, artifact: Artifact, settings: Settings) -> Backend:
    """Load a model into a backend.

    Raises:
        ArtifactBroken: the engine cannot load the graph.
    """
    match name:
        case "openvino":
            from service.backends.openvino import OpenVinoBackend

            return OpenVinoBackend(artifact, settings.openvino, settings.workers)
        case _:
            assert_never(name)
