"""The models of a Triton server: keeps what is in force here in step with the server's repository."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

from service.artifact.manifest import Manifest
from service.artifact.repository import Artifact, read_artifact
from service.backends.triton import TritonBackend
from service.backends.triton_catalog import Entry, read_entries, read_manifest
from service.backends.triton_channel import TritonChannel
from service.backends.triton_memory import SharedImages
from service.errors import ArtifactConflict, ArtifactError, BackendFailed, BackendUnavailable, ServiceError
from service.pipeline.models import Models
from service.pipeline.proof import prove_by_blank, prove_by_golden
from service.settings import Settings
from service.traffic.lanes import Listing, Offer
from service.traffic.probe import Prober

log = logging.getLogger(__name__)

BACKEND = "triton"
_REFUSED_S = 30.0
_PROOF_S = 30.0  # the first inference after a model is loaded can be slow


@asynccontextmanager
async def follow_triton(settings: Settings, models: Models) -> AsyncIterator[None]:
    """Serve what the server has, from when it is there, until the end of the block."""
    channel = TritonChannel(settings.triton)
    memory = SharedImages(channel, settings.triton.max_inflight) if settings.triton.shared_memory else None
    follower = TritonFollower(channel, memory, settings, models)
    task = asyncio.create_task(follower.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, *follower.stop_probers(), return_exceptions=True)
        if memory is not None:
            await memory.close()
        await channel.close()


@dataclass(frozen=True)
class _Known:
    """What has been found out about one version, and for which manifest that holds."""

    listing: Listing
    offer: Offer | None  # None: refused, or not loaded
    found_at: float  # by time.monotonic

    def holds(self, sha256: str) -> bool:
        """Tell whether this is still so; a refusal is looked into again, it may have been mended."""
        if self.listing.sha256 != sha256 or self.listing.state == "unavailable":
            return False
        return self.offer is not None or monotonic() - self.found_at < _REFUSED_S


class TritonFollower:
    """Reads the repository index, proves what is new beside what serves, then swaps."""

    def __init__(
        self, channel: TritonChannel, memory: SharedImages | None, settings: Settings, models: Models
    ) -> None:
        """Follow a server.

        Args:
            channel: to the server.
            memory: to pass images in, if it is wanted.
            settings: of the service.
            models: whose Triton lanes are kept.
        """
        self._channel = channel
        self._memory = memory
        self._settings = settings
        self._models = models
        self._known: dict[tuple[str, str], _Known] = {}  # by <name>-<target> and version
        self._probers: dict[str, asyncio.Task[None]] = {}  # by name of the model
        self._turn = asyncio.Lock()
        self._looked_at = 0.0

    async def run(self) -> None:
        """Look every few seconds, until cancelled."""
        while True:
            try:
                await self.look()
            except Exception:
                log.exception("following triton failed by a defect")
            await asyncio.sleep(self._settings.triton.refresh_s)

    async def look(self) -> None:
        """Bring the lanes in step now; return when a look that began after this call is done."""
        asked_at = monotonic()
        async with self._turn:
            if self._looked_at > asked_at:  # somebody who waited as well has done it
                return
            self._looked_at = monotonic()
            try:
                entries = await read_entries(self._channel, self._settings.triton.target)
            except ServiceError as error:
                # What is in force stays: whether the server is well is for the breakers to say.
                self._note(str(error), explains_absence=True)
                return
            await self._follow(entries)

    def stop_probers(self) -> Iterable[asyncio.Task[None]]:
        """Cancel the probers; return them to be waited for."""
        for task in self._probers.values():
            task.cancel()
        return self._probers.values()

    async def _follow(self, entries: Iterable[Entry]) -> None:
        seen = {(entry.model, entry.version): entry for entry in entries}
        notes = []
        for key, entry in seen.items():
            try:
                await self._find_out(entry)
            except ArtifactError as error:
                notes.append(str(error))
                self._known.pop(key, None)
            except ServiceError as error:
                notes.append(str(error))  # not proved, and not refused either: the next look tries again
        for model in {model for model, _ in (*seen, *self._known)}:
            self._put(model, seen)
        self._models.settle_default()
        refused = [
            f"triton: {model} version {version} is refused: {known.listing.why}"
            for (model, version), known in self._known.items()
            if known.listing.state == "refused"
        ]
        nothing = f"triton at {self._channel.url} has no model for target {self._settings.triton.target}"
        self._note("; ".join((*refused, *notes)) or ("" if self._known else nothing))

    async def _find_out(self, entry: Entry) -> None:
        """Prove a version that is new, or has another manifest than before."""
        key = (entry.model, entry.version)
        known = self._known.get(key)
        if not entry.ready:
            if known is not None:
                listing = replace(known.listing, state="unavailable", why=entry.why)
                self._known[key] = _Known(listing, None, monotonic())
            return
        found = await read_manifest(self._channel, entry)
        if found is None:
            return
        manifest, sha256 = found
        if known is not None and known.holds(sha256):
            return
        backend = TritonBackend(self._channel, self._memory, manifest)
        facts = {"model": entry.model, "version": entry.version}
        try:
            proof = await self._prove(manifest, sha256, backend)
        except (ArtifactError, BackendFailed) as error:
            self._known[key] = _Known(Listing(manifest, sha256, "refused", str(error)), None, monotonic())
            log.error("version of triton refused", extra={**facts, "why": str(error)})
            return
        offer = Offer(BACKEND, manifest, sha256, backend)
        self._known[key] = _Known(Listing(manifest, sha256, "ready"), offer, monotonic())
        log.info("version of triton proved", extra={**facts, "proof": proof})

    async def _prove(self, manifest: Manifest, sha256: str, backend: TritonBackend) -> str:
        artifact = await asyncio.to_thread(_local_twin, self._settings.repository, manifest, sha256)
        if artifact is None:
            await prove_by_blank(manifest, backend, _PROOF_S)
            return "blank canvas"
        await prove_by_golden(artifact, backend, _PROOF_S)
        return "golden sample"

    def _put(self, model: str, seen: dict[tuple[str, str], Entry]) -> None:
        name = model.removesuffix(f"-{self._settings.triton.target}")
        known = {version: one for (owner, version), one in self._known.items() if owner == model}
        for version in known.keys() - {version for owner, version in seen if owner == model}:
            del self._known[(model, version)], known[version]  # deleted from the repository
        if not known and name not in self._models.names:
            return  # a model of somebody else, or not loaded yet
        lane = self._models.add(name)[BACKEND]
        lane.renew = self.look
        lane.why_empty = _why_empty(model, [entry for (owner, _), entry in seen.items() if owner == model])
        offers = {version: one.offer for version, one in known.items() if one.offer is not None}
        self._models.put(BACKEND, name, offers, [one.listing for one in known.values()])
        if name not in self._probers:
            prober = Prober(lane, self._settings.breaker, self._check)
            self._probers[name] = asyncio.create_task(prober.run())

    async def _check(self, offer: Offer, timeout_s: float) -> None:
        if not await self._channel.is_live(timeout_s):
            raise BackendUnavailable(f"triton at {self._channel.url} is not live")
        model = f"{offer.manifest.name}-{offer.manifest.target}"
        if not await self._channel.is_ready(model, offer.manifest.version, timeout_s):
            await self.look()

    def _note(self, sentence: str, *, explains_absence: bool = False) -> None:
        if sentence != self._models.notes.get(BACKEND, ""):
            log.warning("triton is not as it should be", extra={"why": sentence or "it is again"})
        self._models.notes[BACKEND] = sentence
        for name in self._models.names if explains_absence else ():
            lane = self._models.lanes(name)[BACKEND]
            if lane.current is None:
                lane.why_empty = sentence


def _why_empty(model: str, entries: list[Entry]) -> str:
    if not entries:
        return f"triton has no model {model}"
    states = "; ".join(f"version {entry.version}: {entry.why}" for entry in entries)
    return f"triton does not serve {model} now ({states})"


def _local_twin(repository: Path, manifest: Manifest, sha256: str) -> Artifact | None:
    """Return the same artefact in the local repository, whose golden sample can then be replayed.

    Raises:
        ArtifactConflict: the local one of this name, target and version is another.
        ArtifactBroken: it is not whole.
    """
    folder = repository / f"{manifest.name}-{manifest.target}" / manifest.version
    if not (folder / "manifest.json").is_file():
        return None
    artifact = read_artifact(folder)
    if artifact.sha256 != sha256:
        raise ArtifactConflict(
            f"triton's manifest has sha256 {sha256[:12]}…, the one in {folder} has {artifact.sha256[:12]}…"
        )
    return artifact
