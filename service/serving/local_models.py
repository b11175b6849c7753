"""Load the models of the local repository into this process, each checked with its golden sample first."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from time import perf_counter

from service.artifact.repository import Artifact, find_artifacts
from service.backends.protocol import Backend
from service.backends.table import BACKENDS
from service.errors import ArtifactUnproved, SettingsInvalid
from service.serving.models import Models
from service.serving.proof import check_proved, prove_by_golden
from service.settings import BackendName, Settings
from service.traffic.routes import ServedVersion, VersionStatus

log = logging.getLogger(__name__)

_REPLAY_S = 600.0  # long, because the first inference of a large graph on a small machine is slow


@asynccontextmanager
async def open_local_models(name: BackendName, settings: Settings, models: Models) -> AsyncIterator[None]:
    """Serve every local model of a backend during the block, after checking each one's golden sample.

    A version that is not proved is refused with a warning, unless the settings allow it.

    Args:
        name: name of a backend that runs in this process.
        settings: settings of the service.
        models: the served models, to which the loaded ones are added.

    Raises:
        ArtifactError: a model is missing, broken, or does not reproduce its golden sample.
    """
    kind = BACKENDS[name]
    assert kind.open is not None, f"{name} does not run in this process"
    target, unproved = kind.target(settings), settings.serve_unproved
    artifacts = await asyncio.to_thread(find_artifacts, settings.repository, target, unproved=unproved)
    async with AsyncExitStack() as stack:
        for artifact in artifacts:
            try:
                check_proved(artifact.manifest, settings)
            except ArtifactUnproved as error:
                _refuse(name, artifact, str(error), models)
                continue
            began = perf_counter()
            backend = await asyncio.to_thread(kind.open, artifact, settings)
            stack.push_async_callback(backend.close)
            await prove_by_golden(artifact, backend, _REPLAY_S)
            _put(name, artifact, backend, models)
            log.info(
                "model_loaded",
                extra={
                    "model": artifact.manifest.name,
                    "version": artifact.manifest.version,
                    "backend": name,
                    "folder": str(artifact.folder),
                    "seconds": round(perf_counter() - began, 3),
                },
            )
        models.settle_default()
        yield


def check_default(settings: Settings, models: Models) -> None:
    """Check that the default model is loaded, or that a Triton server may still provide it.

    Raises:
        SettingsInvalid: the default model is not loaded, and every backend runs local models only.
    """
    default = settings.default_model
    if any(BACKENDS[name].open is None for name in settings.backends):
        return
    if default is not None and default not in models.names:
        raise SettingsInvalid(
            f"default_model {default!r} is not in the repository; it has {', '.join(models.names)}"
        )
    if why := models.why_not_ready():
        raise SettingsInvalid(f"the default model {models.default!r} cannot be served: {why}")


def _put(name: BackendName, artifact: Artifact, backend: Backend, models: Models) -> None:
    manifest = artifact.manifest
    version = ServedVersion(name, manifest, artifact.sha256, backend)
    status = VersionStatus(manifest, artifact.sha256, "ready")
    refused = models.add(manifest.name)[name].statuses
    models.put(name, manifest.name, {manifest.version: version}, [status, *refused])


def _refuse(name: BackendName, artifact: Artifact, why: str, models: Models) -> None:
    manifest = artifact.manifest
    route = models.add(manifest.name)[name]
    route.why_empty = why
    route.statuses = (*route.statuses, VersionStatus(manifest, artifact.sha256, "refused", why))
    facts = {"model": manifest.name, "version": manifest.version, "backend": name, "why": why}
    log.warning("model_refused", extra=facts)
