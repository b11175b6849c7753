"""The models of the repository on disk, run inside this process: each replays its golden sample first."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from service.artifact.repository import Artifact, find_artifacts
from service.backends.openvino import OpenVinoBackend
from service.backends.protocol import Backend
from service.errors import SettingsInvalid
from service.serving.models import Models
from service.serving.proof import prove_by_golden
from service.settings import Settings
from service.traffic.lanes import Listing, Offer

log = logging.getLogger(__name__)

BACKEND = "openvino"
_REPLAY_S = 600.0  # nobody waits for it; the first inference of a large graph on a small machine is slow


@asynccontextmanager
async def open_local_models(settings: Settings, models: Models) -> AsyncIterator[None]:
    """Load every model, replay its golden sample, put it in force, and close all at the end.

    Raises:
        ArtifactError: a model is missing, broken, or does not reproduce its golden sample.
        SettingsInvalid: the default model is not among the loaded ones, and nothing else could bring it.
    """
    artifacts = await asyncio.to_thread(find_artifacts, settings.repository, settings.target)
    names = tuple(artifact.manifest.name for artifact in artifacts)
    default = settings.default_model
    if settings.backends == (BACKEND,) and default is not None and default not in names:
        raise SettingsInvalid(
            f"default_model {default!r} is not in the repository; it has {', '.join(names)}"
        )
    async with AsyncExitStack() as stack:
        for artifact in artifacts:
            backend = await asyncio.to_thread(OpenVinoBackend, artifact, settings.openvino, settings.workers)
            stack.push_async_callback(backend.close)
            await prove_by_golden(artifact, backend, _REPLAY_S)
            _put(artifact, backend, models)
        models.settle_default()
        yield


def _put(artifact: Artifact, backend: Backend, models: Models) -> None:
    manifest = artifact.manifest
    offer = Offer(BACKEND, manifest, artifact.sha256, backend)
    listing = Listing(manifest, artifact.sha256, "ready")
    models.put(BACKEND, manifest.name, {manifest.version: offer}, [listing])
    log.info(
        "model loaded, golden sample reproduced",
        extra={"model": manifest.name, "version": manifest.version, "folder": str(artifact.folder)},
    )
