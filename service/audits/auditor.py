"""Audit a share of the answers in the background, and quarantine a backend that disagrees."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from random import random
from time import perf_counter
from typing import get_args

from service.audits.limits import Limits
from service.audits.pace import Pace
from service.audits.record import Record
from service.audits.reference import NoReferenceError, Reference, References
from service.audits.replay import Replay
from service.audits.waiting import Waiting
from service.errors import InvalidParameter, ServiceError
from service.expert_metrics import AuditOutcome, ExpertMetrics
from service.observe.protocol import Answered
from service.request import RequestContext
from service.serving.models import Models
from service.settings import Settings
from service.traffic.routes import ServedVersion

log = logging.getLogger(__name__)

_PATIENCE_S = 10.0  # longest wait for a free turn; so a service under full load is still audited
_LOOK_S = 0.02  # between looks for a free turn
_ALLOWED_S = 30.0  # time limit of one replay
_GONE = "the version is no longer served"


class Auditor:
    """An observer that audits a share of the answers. Use it in the event loop only.

    The reference runs one image at a time. It starts only while the backend that answered the image has a
    free turn. So no request waits in a queue because of an audit.
    """

    def __init__(
        self, settings: Settings, metrics: ExpertMetrics, chance: Callable[[], float] = random
    ) -> None:
        """Prepare to audit; `run` does it.

        Args:
            settings: settings of the service.
            metrics: series about audits.
            chance: returns a random number, at least 0 and less than 1.
        """
        self.share = settings.audit.share
        self.quarantines = settings.audit.quarantine
        self._settings = settings
        self._metrics = metrics
        self._chance = chance
        self._waiting = Waiting()
        self._references = References(settings)
        self._records: dict[tuple[str, str, str], Record] = {}  # by model, backend and sha256
        self._paces: dict[str, Pace] = {}  # by model
        self._shown: set[tuple[str, str]] = set()  # models and backends with a gauge
        self._models: Models | None = None  # set while `run` runs

    @property
    def records(self) -> Sequence[Record]:
        """Return the records of the audited backends."""
        return list(self._records.values())

    def reference_of(self, record: Record) -> Reference | None:
        """Return the reference of a record's model; None if it is not open."""
        return self._references.known(record.manifest.name)

    def answered(self, image: Answered) -> None:
        """Keep a share of the images for their audit; drop an image if several wait already."""
        pace = self._pace_of(image.version)
        pace.answered(image.timings)
        if not self._chance() < pace.chance(self.share):
            return
        if not self._waiting.put(image):
            self._count(self._record(image.version), "skipped", "too many images wait for their audit")

    def refused(self, error: ServiceError, context: RequestContext) -> None:
        """Ignore an image that got an error, because there is no answer to compare."""

    async def run(self, models: Models) -> None:
        """Audit the waiting images, until this task is cancelled.

        Args:
            models: the served models, in which a backend that disagrees is quarantined.
        """
        self._models = models
        models.on_change.append(self._follow)
        self._follow()
        try:
            while True:
                image = await self._waiting.get()
                try:
                    await self._references.close_others(models.names)  # of models that were removed
                    await self._audit(image, models)
                except Exception:
                    self._count(self._record(image.version), "failed", "a defect; the log has it")
                    log.exception("audit_failed", extra={"model": image.version.manifest.name})
                del image  # or it would stay in memory until the next one
        finally:
            await self._references.close()

    def release(self, model: str, backend: str) -> None:
        """End the quarantine of a model's backend, and forget its audits.

        Raises:
            UnknownModel: there is no model of this name.
            InvalidParameter: no audits disagree with the backend.
        """
        assert self._models is not None, "the routes exist only while the models are served"
        keys = [key for key in self._records if key[:2] == (model, backend)]
        if not self._models.release(model, backend) and not any(self._records[key].decided for key in keys):
            raise InvalidParameter(
                "backend", f"model {model!r} is not in quarantine on {backend!r}; GET /audits lists what is"
            )
        for key in keys:
            del self._records[key]
        log.warning("backend_released", extra={"model": model, "backend": backend})
        self._follow()

    async def _audit(self, image: Answered, models: Models) -> None:
        version = image.version
        if not self._is_served(version, models):
            self._count(self._record(version), "skipped", _GONE)
            return
        routes = models.routes(version.manifest.name).values()
        preferred = next((route.current for route in routes if route.current is not None), version)
        try:
            reference = await self._references.of(preferred)
        except NoReferenceError as error:
            self._count(self._record(version), "skipped", str(error))
            return
        if reference.candidate.is_served_by(version) and not reference.is_copy:
            return  # the answer is the reference's own
        if not self._is_served(version, models):  # any more: opening the reference may take a minute
            self._count(self._record(version), "skipped", _GONE)
            return
        record = self._record(version)
        if record.decided:
            self._count(record, "skipped", "the decision is made: the backend disagrees")
        elif why := reference.why_not(version, dict(image.params.controls)):
            self._count(record, "skipped", why)
        else:
            await self._until_free(version, models)
            await self._replay(image, record, reference, models)

    async def _replay(self, image: Answered, record: Record, reference: Reference, models: Models) -> None:
        manifest, settings = reference.candidate.manifest, self._settings
        limits = record.begin(Limits.of(image.version.manifest, manifest))
        job = Replay(image, manifest, limits, settings.max_pixels, settings.bits)
        context = RequestContext.within(_ALLOWED_S, f"{image.context.request_id}-audit")
        began = perf_counter()
        try:
            replayed = await reference.backend.run(job, context)
        except ServiceError as error:
            self._count(record, "failed", f"the reference did not answer: {error}")
            return
        finally:
            self._metrics.audit_s.inc(perf_counter() - began)
        if not self._is_served(image.version, models):
            self._count(record, "skipped", _GONE)
            return
        self._pace_of(image.version).audited(replayed.duration_s)
        outcome = record.add(replayed, image.context.request_id)
        self._count(record, outcome, record.why)
        assert record.trial is not None, "begin() sets it"
        if record.trial.disagrees and not record.decided:
            record.decided = True
            self._report(record, reference, models)

    def _report(self, record: Record, reference: Reference, models: Models) -> None:
        """Log the evidence against a backend that disagrees, and quarantine it if the settings say so."""
        assert record.trial is not None, "begin() sets it"
        name, backend, version = record.manifest.name, record.backend, record.manifest.version
        against = reference.candidate
        evidence = {
            "model": name,
            "version": version,
            "backend": backend,
            "sha256": record.sha256,
            "why": record.described,
            "reference": f"{against.manifest.target} version {against.manifest.version} on {against.engine}",
            "suspects": [f"{one.layer}/{one.expert}" for one in record.trial.suspects()],
            "images": [one.request_id for one in record.disagreements][-5:],
        }
        if not self.quarantines:
            log.error("backend_disagrees", extra=evidence)
            return
        why = (
            f"model {name!r} version {version} on {backend} is in quarantine: {record.described};"
            " GET /audits has the evidence. Serve another version, or release it with POST /audits/release"
        )
        models.quarantine(name, backend, record.sha256, why)
        log.error("backend_quarantined", extra=evidence)
        self._follow()

    async def _until_free(self, version: ServedVersion, models: Models) -> None:
        """Wait until a turn is free on the version's backend, but at most _PATIENCE_S."""
        route = models.routes(version.manifest.name)[version.backend_name]
        end = perf_counter() + _PATIENCE_S
        while not route.turns.is_free and perf_counter() < end:
            await asyncio.sleep(_LOOK_S)

    def _is_served(self, version: ServedVersion, models: Models) -> bool:
        name = version.manifest.name
        if name not in models.names:
            return False
        route = models.routes(name).get(version.backend_name)
        return route is not None and any(one is version for one in route.versions.values())

    def _record(self, version: ServedVersion) -> Record:
        """Return the record of a version on its backend; begin it with the version's first audit."""
        key = (version.manifest.name, version.backend_name, version.sha256)
        if key not in self._records:
            self._records[key] = Record(version)
        return self._records[key]

    def _pace_of(self, version: ServedVersion) -> Pace:
        return self._paces.setdefault(version.manifest.name, Pace())

    def _count(self, record: Record, outcome: AuditOutcome, why: str) -> None:
        record.outcomes[outcome] += 1
        record.why = why
        manifest = record.manifest
        self._metrics.audited.labels(manifest.name, manifest.version, record.backend, outcome).inc()

    def _follow(self) -> None:
        """Export the series of the served versions, and forget the records of versions that are gone."""
        assert self._models is not None, "run() sets it"
        kept, shown = set(), set()
        for name in self._models.names:
            for backend, route in self._models.routes(name).items():
                self._metrics.quarantined.labels(name, backend).set(1 if route.is_quarantined else 0)
                shown.add((name, backend))
                kept |= {(name, backend, one.sha256) for one in route.versions.values()}
                kept |= {(name, backend, sha256) for sha256 in route.quarantined}
                for version in route.versions:
                    for outcome in get_args(AuditOutcome):
                        self._metrics.audited.labels(name, version, backend, outcome)
        for gone in self._shown - shown:
            self._metrics.quarantined.remove(*gone)
        self._shown = shown
        for key in self._records.keys() - kept:
            del self._records[key]
