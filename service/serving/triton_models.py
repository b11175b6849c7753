"""Serve the models of a Triton server: follow the changes in the server's model repository."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

from service.artifact.manifest import Manifest
from service.artifact.repository import Artifact, read_artifact
from service.backends.paths import usual_top_ks
from service.backends.threads import Threads
from service.backends.triton.backend import TritonBackend
from service.backends.triton.catalog import read_manifest, read_versions
from service.backends.triton.channel import RepositoryVersion, TritonChannel
from service.backends.triton.memory import SharedImages
from service.backends.triton.path_models import PathModels
from service.errors import (
    ArtifactConflict,
    ArtifactError,
    BackendFailed,
    BackendUnavailable,
    DeadlineExceeded,
    ServiceError,
)
from service.request import RequestContext
from service.serving.models import Models
from service.serving.proof import check_proved, prove_by_blank, prove_by_golden
from service.settings import BackendName, Settings
from service.traffic.probe import Prober
from service.traffic.routes import ServedVersion, VersionStatus

log = logging.getLogger(__name__)

BACKEND: BackendName = "triton"
_REFUSED_S = 30.0  # a refused version is checked again after this time
_PROOF_S = 30.0  # time limit of a check; the first inference after loading can be slow
_PATIENCE_S = 0.8  # longest wait for a check before the routes are updated; they are updated again after it


@asynccontextmanager
async def follow_triton(settings: Settings, models: Models) -> AsyncIterator[None]:
    """Serve the models of a Triton server during the block, whenever the server is reachable."""
    channel = TritonChannel(settings.triton)
    memory = SharedImages(channel, settings.triton.max_inflight) if settings.triton.shared_memory else None
    threads = Threads(settings.workers + 1, BACKEND)
    follower = TritonFollower(channel, memory, threads, settings, models)
    task = asyncio.create_task(follower.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, *follower.stop(), return_exceptions=True)
        await asyncio.to_thread(threads.close)
        if memory is not None:
            await memory.close()
        await channel.close()


@dataclass(frozen=True)
class _Judgement:
    """The result of checking a version: served, refused or unavailable.

    The result applies to the manifest that the version had during the check.
    """

    status: VersionStatus
    served: ServedVersion | None  # None: refused, not proved in time, or not loaded
    found_at: float  # on the clock of time.monotonic

    def holds(self, sha256: str) -> bool:
        """Return whether the result is still valid for a manifest with this sha256.

        A refusal is valid for 30 seconds only, because the model may have been repaired.
        """
        if self.status.sha256 != sha256 or self.status.state == "unavailable":
            return False
        return self.served is not None or monotonic() - self.found_at < _REFUSED_S


@dataclass(frozen=True)
class _Proof:
    """A running check of a version; in this code, such a check is called a proof."""

    task: asyncio.Task[None]
    began_at: float  # on the clock of time.monotonic

    def patience_s(self) -> float:
        """Return for how many more seconds an update of the routes waits for this check.

        The result is 0 if the check has already run for _PATIENCE_S.
        """
        return max(0.0, self.began_at + _PATIENCE_S - monotonic())


class TritonFollower:
    """A follower of one Triton server: it reads the repository index, checks new versions, and serves them.

    While a new version is checked, the old versions answer requests.
    """

    def __init__(
        self,
        channel: TritonChannel,
        memory: SharedImages | None,
        threads: Threads,
        settings: Settings,
        models: Models,
    ) -> None:
        """Follow a server.

        Args:
            channel: gRPC channel to the server.
            memory: shared memory for the images; None to send images in the gRPC message.
            threads: threads in which images are decoded and predictions are read.
            settings: settings of the service.
            models: the served models, whose Triton routes are kept up to date.
        """
        self._channel = channel
        self._memory = memory
        self._threads = threads
        self._settings = settings
        self._models = models
        self._seen: dict[
            tuple[str, str], RepositoryVersion
        ] = {}  # key: <name>-<target> and version, also in the following dicts
        self._judged: dict[tuple[str, str], _Judgement] = {}
        self._unproved: dict[tuple[str, str], str] = {}  # why the check of a version has no result
        self._proofs: dict[tuple[str, str, str], _Proof] = {}  # key: also the manifest's sha256
        self._probers: dict[str, asyncio.Task[None]] = {}  # by name of the model
        self._looking: asyncio.Task[None] | None = None
        self._degraded_at = 0.0  # on the clock of time.monotonic
        self._looked_at = 0.0  # when the last finished reading of the index began

    async def run(self) -> None:
        """Read the repository index every `refresh_s` seconds, until this task is cancelled."""
        while True:
            try:
                await self.look()
            except Exception:
                log.exception("triton_follow_failed")
            await asyncio.sleep(self._settings.triton.refresh_s)

    async def look(self) -> None:
        """Read the repository index anew, and update the routes.

        If the index is already being read, wait for the end of that reading, then read the index once
        more, because that reading may have missed the latest change.
        """
        asked_at = monotonic()
        while self._looked_at < asked_at:
            if self._looking is None or self._looking.done():
                self._looking = asyncio.create_task(self._look())
            await asyncio.shield(self._looking)  # other callers also wait for this task

    def stop(self) -> Iterable[asyncio.Task[None]]:
        """Cancel all running tasks; return them, so that the caller can wait for them."""
        looking = () if self._looking is None else (self._looking,)
        tasks = (*looking, *(proof.task for proof in self._proofs.values()), *self._probers.values())
        for task in tasks:
            task.cancel()
        return tasks

    async def _look(self) -> None:
        began = monotonic()
        try:
            versions = await read_versions(self._channel, self._settings.triton.target)
        except ServiceError as error:
            # The served versions stay; the circuit breakers decide whether the server is healthy.
            self._note(str(error), explains_absence=True)
        else:
            await self._follow(versions)
        self._looked_at = began

    async def _follow(self, versions: Iterable[RepositoryVersion]) -> None:
        self._seen = {(one.model, one.version): one for one in versions}
        found = await asyncio.gather(*map(self._find_out, self._seen.values()))
        news = {(*key, one[1]): one[0] for key, one in zip(self._seen, found, strict=True) if one is not None}
        for outdated in self._proofs.keys() - news.keys():
            self._proofs.pop(outdated).task.cancel()
        models = {model for model, _ in (*self._seen, *self._judged)}
        for model in models - {model for model, _, _ in news}:
            self._put(model)
        for key in news.keys() - self._proofs.keys():
            self._proofs[key] = _Proof(asyncio.create_task(self._prove(key, news[key])), monotonic())
        if young := {one.task: one.patience_s() for one in self._proofs.values() if one.patience_s() > 0}:
            await asyncio.wait(young, timeout=max(young.values()))
        for model in models:
            self._put(model)
        self._settle_default()
        self._report()

    async def _find_out(self, one: RepositoryVersion) -> tuple[Manifest, str] | None:
        """Return the manifest and sha256 of a version if the version must be checked.

        Return None if a valid result exists already, or if the version is not ready or has no readable
        manifest.
        """
        key = (one.model, one.version)
        self._unproved.pop(key, None)
        judged = self._judged.get(key)
        if not one.ready:
            if judged is not None:
                status = replace(judged.status, state="unavailable", why=one.why)
                self._judged[key] = _Judgement(status, None, monotonic())
            return None
        try:
            found = await read_manifest(self._channel, one)
        except ServiceError as error:
            self._unproved[key] = str(error)  # the next reading tries again
            if isinstance(error, ArtifactError):
                self._judged.pop(key, None)
            return None
        return None if found is None or (judged is not None and judged.holds(found[1])) else found

    async def _prove(self, key: tuple[str, str, str], manifest: Manifest) -> None:
        model, version, sha256 = key
        try:
            self._judged[(model, version)] = await self._judge(manifest, sha256)
        except ServiceError as error:
            self._unproved[(model, version)] = str(error)  # not refused: the next reading tries again
        finally:
            self._proofs.pop(key, None)
        # Add all versions of a model at once, so that a lower version does not answer in between.
        if model not in {other for other, _, _ in self._proofs}:
            self._put(model)
            self._settle_default()

    async def _judge(self, manifest: Manifest, sha256: str) -> _Judgement:
        facts = {"model": f"{manifest.name}-{manifest.target}", "version": manifest.version}
        try:
            check_proved(manifest, self._settings)
            backend = TritonBackend(self._channel, self._memory, self._threads, manifest)
            await self._prove_paths(manifest, sha256, backend)
            proof = await self._replay(manifest, sha256, backend)
        except (ArtifactError, BackendFailed, DeadlineExceeded) as error:
            late = f"it did not run within {_PROOF_S:g} s"
            why = late if isinstance(error, DeadlineExceeded) else str(error)
            log.error("triton_version_refused", extra={**facts, "why": why})
            return _Judgement(VersionStatus(manifest, sha256, "refused", why), None, monotonic())
        log.info("triton_version_proved", extra={**facts, "proof": proof})
        served = ServedVersion(BACKEND, manifest, sha256, backend)
        return _Judgement(VersionStatus(manifest, sha256, "ready"), served, monotonic())

    async def _prove_paths(self, manifest: Manifest, sha256: str, backend: TritonBackend) -> None:
        if isinstance(backend.models, PathModels):
            top_ks = usual_top_ks(manifest, self._settings.brownout.min_top_k)
            context = RequestContext.within(_PROOF_S, "sparsight-paths")
            await backend.models.prove(manifest.images.blank(), sha256, top_ks, context)

    async def _replay(self, manifest: Manifest, sha256: str, backend: TritonBackend) -> str:
        artifact = await asyncio.to_thread(_local_twin, self._settings.repository, manifest, sha256)
        if artifact is None:
            await prove_by_blank(manifest, backend, _PROOF_S)
            return "blank image"
        await prove_by_golden(artifact, backend, _PROOF_S)
        return "golden sample"

    def _put(self, model: str) -> None:
        name = model.removesuffix(f"-{self._settings.triton.target}")
        judged = {version: one for (owner, version), one in self._judged.items() if owner == model}
        for version in judged.keys() - {version for owner, version in self._seen if owner == model}:
            del self._judged[(model, version)], judged[version]  # deleted from the repository
        if not judged and name not in self._models.names:
            return  # a model of another project, or not loaded yet
        route = self._models.add(name)[BACKEND]
        route.renew = self.look
        route.why_empty = _why_empty(model, [one for one in self._seen.values() if one.model == model])
        served = {version: one.served for version, one in judged.items() if one.served is not None}
        self._models.put(BACKEND, name, served, [one.status for one in judged.values()])
        if name not in self._probers:
            prober = Prober(route, self._settings.breaker, self._check)
            self._probers[name] = asyncio.create_task(prober.run())

    def _settle_default(self) -> None:
        # Wait for all checks: the default is the first model by name, not the first checked model.
        if self._models.default is not None or not self._proofs:
            self._models.settle_default()

    async def _check(self, served: ServedVersion, timeout_s: float) -> None:
        if not await self._channel.is_live(timeout_s):
            raise BackendUnavailable(f"triton at {self._channel.url} is not live")
        version = served.manifest.version
        assert isinstance(served.backend, TritonBackend)
        for model in served.backend.models.names:
            if not await self._channel.is_ready(model, version, timeout_s):
                raise BackendUnavailable(f"triton has unloaded {model} version {version}", not_run=True)

    def _report(self) -> None:
        sentences = [
            f"triton: {model} version {version} is refused: {judged.status.why}"
            for (model, version), judged in self._judged.items()
            if judged.status.state == "refused"
        ]
        sentences += [why for key, why in self._unproved.items() if key in self._seen]
        sentences += [
            f"triton: {model} version {version} is being checked" for model, version, _ in self._proofs
        ]
        nothing = f"triton at {self._channel.url} has no model for target {self._settings.triton.target}"
        self._note("; ".join(sentences) or ("" if self._judged else nothing))

    def _note(self, sentence: str, *, explains_absence: bool = False) -> None:
        before = self._models.notes.get(BACKEND, "")
        if sentence and sentence != before:
            self._degraded_at = self._degraded_at if before else monotonic()
            log.warning("triton_degraded", extra={"backend": BACKEND, "why": sentence})
        elif before and not sentence:
            after_s = round(monotonic() - self._degraded_at, 3)
            log.info("triton_recovered", extra={"backend": BACKEND, "after_s": after_s})
        self._models.notes[BACKEND] = sentence
        for name in self._models.names if explains_absence else ():
            route = self._models.routes(name)[BACKEND]
            if route.current is None:
                route.why_empty = sentence


def _why_empty(model: str, versions: list[RepositoryVersion]) -> str:
    if not versions:
        return f"triton has no model {model}"
    states = "; ".join(f"version {one.version}: {one.why}" for one in versions)
    return f"triton does not serve {model} now ({states})"


def _local_twin(repository: Path, manifest: Manifest, sha256: str) -> Artifact | None:
    """Return the local copy of the artifact that Triton serves; None without a copy.

    The copy holds a golden sample, which Triton does not give out.

    Raises:
        ArtifactConflict: the local artifact has the same name, target and version, but another sha256.
        ArtifactBroken: the local artifact is incomplete or altered.
    """
    folder = repository / f"{manifest.name}-{manifest.target}" / manifest.version
    if not (folder / "manifest.json").is_file():
        return None
    artifact = read_artifact(folder)
    if artifact.sha256 != sha256:
        raise ArtifactConflict(
            f"triton's manifest has sha256 {sha256[:12]}…, but that in {folder} has {artifact.sha256[:12]}…"
        )
    return artifact
