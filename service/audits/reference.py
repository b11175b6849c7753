"""Choose the artifact that a model's backends are compared with, and open it in this process."""

import asyncio
import hashlib
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from time import monotonic

from service.artifact.manifest import Manifest, parse_manifest
from service.artifact.repository import read_artifact
from service.backends.protocol import Backend
from service.backends.table import BACKENDS
from service.errors import BACKEND_ERRORS, ArtifactError, SettingsInvalid
from service.serving.proof import check_proved, prove_by_golden
from service.settings import BackendName, Settings
from service.traffic.routes import ServedVersion

log = logging.getLogger(__name__)

_REPLAY_S = 600.0  # as for a served model
_AGAIN_S = 60.0  # after this time, a reference that could not be opened is tried again
_EXACT_FIRST = ("f32", "bf16", "f16", "int8")


class NoReferenceError(Exception):
    """There is nothing to compare a model with; the message says why, and what to do."""


@dataclass(frozen=True)
class Candidate:
    """An artifact in the repository that could be a model's reference, and the engine to run it."""

    engine: BackendName
    folder: Path
    manifest: Manifest
    sha256: str

    def is_served_by(self, version: ServedVersion) -> bool:
        """Return whether a route runs the same artifact with the same engine."""
        return (self.engine, self.sha256) == (version.backend_name, version.sha256)


@dataclass(frozen=True)
class Reference:
    """An opened reference."""

    candidate: Candidate
    backend: Backend
    is_copy: bool  # of what the preferred route runs, because there is nothing else

    def has_weights_of(self, manifest: Manifest) -> bool:
        """Return whether the reference reads an artifact's own files, and so shares faults in its weights."""
        return bool(_weights(self.candidate.manifest) & _weights(manifest))

    def why_not(self, version: ServedVersion, controls: dict[str, int | float]) -> str:
        """Return why an answer of a version cannot be compared with this reference; empty if it can."""
        manifest = self.candidate.manifest
        if not fits(manifest, version.manifest):
            return f"version {version.manifest.version} was not exported from the reference's checkpoint"
        rows = {row.name: row for row in manifest.controls}
        if rows.keys() != controls.keys() or not all(rows[name].accepts(controls[name]) for name in rows):
            return "the reference does not accept the controls of the request"
        return ""


class References:
    """The open references, at most one for each model. Use it in the event loop only, one call at a time."""

    def __init__(self, settings: Settings) -> None:
        """Open nothing yet."""
        self._settings = settings
        self._open: dict[str, tuple[tuple[str, str], Reference]] = {}  # by model, with the route's key
        self._failed: dict[str, tuple[tuple[str, str], float, str]] = {}

    async def of(self, preferred: ServedVersion) -> Reference:
        """Return the reference of a model, opened at the first call.

        Args:
            preferred: the version that the model's first route serves.

        Raises:
            NoReferenceError: no artifact of the repository can be the reference.
        """
        model, key = preferred.manifest.name, (preferred.backend_name, preferred.sha256)
        known, reference = self._open.get(model, (None, None))
        if reference is not None and known == key:
            return reference
        failed, since, why = self._failed.get(model, (None, 0.0, ""))
        if failed == key and monotonic() - since < _AGAIN_S:
            raise NoReferenceError(why)
        if reference is not None:
            del self._open[model]
            await reference.backend.close()
        try:
            reference = await self._first_sound(preferred)
        except NoReferenceError as error:
            self._failed[model] = (key, monotonic(), str(error))
            log.warning("audit_without_reference", extra={"model": model, "why": str(error)})
            raise
        self._failed.pop(model, None)
        self._open[model] = (key, reference)
        return reference

    def known(self, model: str) -> Reference | None:
        """Return the open reference of a model, if there is one."""
        return self._open[model][1] if model in self._open else None

    async def close_others(self, models: Iterable[str]) -> None:
        """Free the references of all models that are not among `models`."""
        for name in self._open.keys() - set(models):
            _, reference = self._open.pop(name)
            await reference.backend.close()

    async def close(self) -> None:
        """Free all references."""
        for _, reference in self._open.values():
            await reference.backend.close()
        self._open.clear()

    async def _first_sound(self, preferred: ServedVersion) -> Reference:
        manifest = preferred.manifest
        candidates = await asyncio.to_thread(find_candidates, self._settings, preferred)
        reasons = []
        for candidate in candidates:
            try:
                backend = await _open(candidate, self._settings)
            except (ArtifactError, SettingsInvalid, *BACKEND_ERRORS) as error:
                reasons.append(str(error))
                continue
            chosen = candidate.manifest
            facts: dict[str, str | bool] = {
                "version": chosen.version,
                "target": chosen.target,
                "precision": chosen.precision,
            }
            reference = Reference(candidate, backend, candidate.is_served_by(preferred))
            facts["same_files"] = reference.has_weights_of(manifest)
            log.info(
                "audit_reference_opened",
                extra={"model": manifest.name, "engine": candidate.engine, **facts},
            )
            return reference
        what = f"no artifact of model {manifest.name!r} in {self._settings.repository} can be the reference"
        export = f"python -m training export CHECKPOINT --name {manifest.name} --target onnx"
        why = "; ".join(reasons) or "none was exported from the checkpoint of the served version"
        raise NoReferenceError(f"{what}: {why}; export the same checkpoint once more: {export}")


def find_candidates(settings: Settings, preferred: ServedVersion) -> list[Candidate]:
    """Return the artifacts that could be the reference, the best first.

    These rules apply in turn, and a later rule decides only what the rules before it leave open. First come
    artifacts that the preferred route does not run with the same engine; then those that share no weights
    with its artifact; then those with the most exact numbers; then those for another engine; then newer
    versions.
    """
    found = [
        candidate for engine in _engines(settings) for candidate in _of_engine(settings, preferred, engine)
    ]
    weights = _weights(preferred.manifest)

    def rank(one: Candidate) -> tuple[bool, bool, int, bool, int]:
        return (
            one.is_served_by(preferred),
            bool(_weights(one.manifest) & weights),
            _EXACT_FIRST.index(one.manifest.precision),
            one.engine == preferred.backend_name,
            -int(one.manifest.version),
        )

    return sorted(found, key=rank)


def fits(one: Manifest, other: Manifest) -> bool:
    """Return whether two artifacts are the same model: one checkpoint, with the same experts and classes."""
    return _identity(one) == _identity(other)


def _identity(manifest: Manifest) -> tuple[object, ...]:
    return (
        manifest.provenance.checkpoint_sha256,
        manifest.task,
        manifest.class_names,
        manifest.routing,
        {(layer.layer, layer.num_experts) for layer in manifest.mixture},
        manifest.images,
    )


def _engines(settings: Settings) -> list[BackendName]:
    if settings.audit.reference is not None:
        return [settings.audit.reference]
    packages: dict[BackendName, str] = {"openvino": "openvino", "onnx": "onnxruntime"}
    return [name for name, package in packages.items() if find_spec(package) is not None]


def _of_engine(settings: Settings, preferred: ServedVersion, engine: BackendName) -> Iterator[Candidate]:
    for target in sorted(BACKENDS[engine].runs):
        for path in settings.repository.glob(f"{preferred.manifest.name}-{target}/*/manifest.json"):
            folder = path.parent
            if not (folder.name.isascii() and folder.name.isdigit()):
                continue
            try:
                text = path.read_bytes()
                manifest = parse_manifest(text, str(path))
            except (OSError, ArtifactError):
                continue  # broken, so it cannot be the reference; loading reports why
            if fits(manifest, preferred.manifest):
                yield Candidate(engine, folder, manifest, hashlib.sha256(text).hexdigest())


async def _open(candidate: Candidate, settings: Settings) -> Backend:
    """Open a candidate with one thread, so that it slows requests little, and replay its golden sample."""
    artifact = await asyncio.to_thread(read_artifact, candidate.folder)
    check_proved(artifact.manifest, settings)
    one_thread = settings.model_copy(
        update={
            "workers": 1,
            "openvino": settings.openvino.model_copy(
                update={"threads": 1, "streams": 1, "pin_threads": False}
            ),
            "onnx": settings.onnx.model_copy(update={"intra_op_threads": 1, "device": "cpu"}),
        }
    )
    open_backend = BACKENDS[candidate.engine].open
    assert open_backend is not None, f"{candidate.engine} runs in this process"
    backend = await asyncio.to_thread(open_backend, artifact, one_thread)
    try:
        await prove_by_golden(artifact, backend, _REPLAY_S)
    except BaseException:
        await backend.close()
        raise
    return backend


def _weights(manifest: Manifest) -> set[str]:
    """Return the sha256 of the files that hold an artifact's weights."""
    return {
        sha256
        for name, sha256 in manifest.files.items()
        if name != "golden.npz" and not name.endswith(".xml")
    }
