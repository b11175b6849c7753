"""Serve the models of the local repository in this process, after a check with their golden samples."""

import asyncio
import logging
from dataclasses import dataclass, field
from time import perf_counter

from service.artifact.repository import Artifact, find_artifacts
from service.backends.table import BACKENDS
from service.errors import (
    BACKEND_ERRORS,
    ArtifactBroken,
    ArtifactError,
    ArtifactMissing,
    ServiceError,
    SettingsInvalid,
)
from service.memory import return_unused
from service.serving.models import Models
from service.serving.proof import check_proved, prove_by_golden
from service.settings import BackendName, Settings
from service.traffic.routes import ServedVersion, VersionStatus

log = logging.getLogger(__name__)

_REPLAY_S = 600.0  # long, because the first inference of a large graph on a small machine is slow
_BROKEN = (ArtifactError, *BACKEND_ERRORS)


@dataclass
class Changes:
    """What changed among the served models when the repository was read."""

    loaded: list[str] = field(default_factory=list)  # texts such as "starter version 2 on openvino"
    removed: list[str] = field(default_factory=list)
    broken: dict[str, ServiceError] = field(default_factory=dict)  # by name of the model


class LocalModels:
    """The models of the local repository on one backend of this process. Use it in the event loop only."""

    def __init__(self, name: BackendName, settings: Settings, models: Models) -> None:
        """Prepare to load models; `read` loads them.

        Args:
            name: name of a backend that runs in this process.
            settings: settings of the service.
            models: the served models, to which the loaded ones are added.
        """
        open_backend = BACKENDS[name].open
        assert open_backend is not None, f"{name} does not run in this process"
        self._open = open_backend
        self._name = name
        self._settings = settings
        self._models = models
        self._served: dict[str, ServedVersion] = {}  # by name of the model
        self._retiring: set[asyncio.Task[None]] = set()

    async def read(self) -> Changes:
        """Read the repository, and serve the highest version of every model.

        The old version of a model answers until the new version has reproduced its golden sample, so that no
        request fails in between. If the new version is broken, the old version stays in service; other models
        are not affected. Models that are no longer in the repository are removed, except the default model.

        Raises:
            ArtifactMissing: the repository does not exist, or has no model; nothing is changed.
        """
        target = BACKENDS[self._name].target(self._settings)
        found = await asyncio.to_thread(find_artifacts, self._settings.repository, target)
        changes = Changes()
        for name, artifact in found.items():
            try:
                if isinstance(artifact, ArtifactError):
                    raise artifact
                if name not in self._served or self._served[name].sha256 != artifact.sha256:
                    self._serve(await self._load(artifact))
                    changes.loaded.append(self._describe(name))
            except _BROKEN as error:
                changes.broken[name] = error
        for name in self._served.keys() - found.keys():
            if name == self._models.default:
                why = f"the default model {name!r} is no longer in the repository; it is served until the end"
                changes.broken[name] = ArtifactMissing(why)
            else:
                changes.removed.append(self._describe(name))
                self._models.put(self._name, name, {}, [])
                self._retire(self._served.pop(name))
        if changes.loaded:  # once, after all models: every loading uses the same memory again
            await asyncio.to_thread(return_unused)
        self._report(changes)
        return changes

    async def close(self) -> None:
        """Free all models. No other call may follow."""
        for task in self._retiring:
            task.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)
        for served in self._served.values():
            await served.backend.close()

    async def _load(self, artifact: Artifact) -> ServedVersion:
        manifest, began = artifact.manifest, perf_counter()
        check_proved(manifest, self._settings)
        backend = await asyncio.to_thread(self._open, artifact, self._settings)
        try:
            await prove_by_golden(artifact, backend, _REPLAY_S)
        except BaseException:
            await backend.close()
            raise
        facts = {"model": manifest.name, "version": manifest.version, "backend": self._name}
        seconds = round(perf_counter() - began, 3)
        log.info("model_loaded", extra={**facts, "folder": str(artifact.folder), "seconds": seconds})
        return ServedVersion(self._name, manifest, artifact.sha256, backend)

    def _serve(self, new: ServedVersion) -> None:
        manifest, old = new.manifest, self._served.get(new.manifest.name)
        status = VersionStatus(manifest, new.sha256, "ready")
        self._models.put(self._name, manifest.name, {manifest.version: new}, [status])
        self._served[manifest.name] = new
        if old is not None:
            self._retire(old)

    def _retire(self, old: ServedVersion) -> None:
        async def close() -> None:
            await old.users.until_none()
            await old.backend.close()

        task = asyncio.create_task(close())
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    def _describe(self, name: str) -> str:
        return f"{name} version {self._served[name].manifest.version} on {self._name}"

    def _report(self, changes: Changes) -> None:
        reasons = {}
        for name, error in changes.broken.items():
            instead = f"; {self._describe(name)} stays in service" if name in self._served else ""
            reasons[name] = f"{error}{instead}"
            facts = {"model": name, "backend": self._name, "why": reasons[name]}
            log.error("model_broken", extra=facts)
        self._models.set_broken(self._name, reasons)


def check_default(settings: Settings, models: Models, broken: dict[str, ServiceError]) -> None:
    """Check that the default model is loaded, or that a Triton server may still provide it.

    Args:
        settings: settings of the service.
        models: the served models.
        broken: the local models that could not be loaded, by name.

    Raises:
        ArtifactBroken: the default model is in the repository, but could not be loaded.
        SettingsInvalid: the default model is not in the repository, and no backend is a Triton server.
    """
    default = models.default
    if default in broken:
        raise ArtifactBroken(
            f"the default model {default!r} cannot be served: {broken[default]}; export it again, or choose"
            " another model with SPARSIGHT_DEFAULT_MODEL"
        ) from broken[default]
    local = all(BACKENDS[name].open is not None for name in settings.backends)
    if local and default is not None and default not in models.names:
        raise SettingsInvalid(
            f"default_model {default!r} is not in the repository; it has {', '.join(models.names)}"
        )
