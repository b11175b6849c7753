"""Watch how the images of every served version are routed, and say when the routing drifts."""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from service.artifact.manifest import Manifest
from service.artifact.routing_file import read_routing
from service.errors import ArtifactBroken, ServiceError
from service.expert_metrics import ExpertMetrics, JudgedCounters
from service.observe.protocol import Answered
from service.request import Number, RequestContext
from service.routing.reference import LEAST_IMAGES, Layers, Reference
from service.routing.statistics import diversity, jain
from service.routing.watch import PATH, SPAN, STEP, Alarm, Watch
from service.traffic.routes import ServedVersion
from service.types import RoutingVerdict

log = logging.getLogger(__name__)

Controls = tuple[tuple[str, Number], ...]
"""A setting of the controls as a key: names and values, sorted by name."""
_NORMAL = RoutingVerdict("normal")
_FORGOTTEN_AFTER = 10 * SPAN  # images of a version, after which an alarm of an unused setting ends
_NO_BASELINE = f"no baseline of at least {LEAST_IMAGES} images; see: python -m training baseline"
_EVENTS_KEPT = 50  # of the history of one version


@dataclass(frozen=True)
class Event:
    """A change between normal and drifting."""

    at: datetime
    state: Literal["normal", "drifting"]
    controls: Mapping[str, Number]
    alarm: Alarm | None  # what was found; None at the end of a drift


@dataclass(frozen=True)
class Ranked:
    """An answered image whose routing was compared with a baseline."""

    image: Answered
    contrasts: NDArray[np.float64]  # (D,)
    sets: NDArray[np.uint64]  # (L,)
    rank: float  # among the baseline's images; see Reference.ranks
    reference: Reference


@dataclass
class WatchedVersion:
    """One served version on one backend, with a watch for each setting of the controls in the baseline."""

    version: ServedVersion
    layers: Layers
    counters: JudgedCounters
    since: datetime
    why_unwatched: str = "the baseline is being read"  # empty once there is a baseline
    watches: dict[Controls, Watch] = field(default_factory=dict)
    looked_at: dict[Controls, int] = field(default_factory=dict)  # value of `judged` at a setting's last look
    latest: Watch | None = None  # of the setting that was looked at last
    judged: int = 0
    unjudged: int = 0
    events: list[Event] = field(default_factory=list)
    verdict: RoutingVerdict = _NORMAL

    @property
    def manifest(self) -> Manifest:
        """Return the manifest of the version."""
        return self.version.manifest

    @property
    def alarms(self) -> list[Alarm]:
        """Return the alarms in force, at most one for each setting that is still in use."""
        oldest = self.judged - _FORGOTTEN_AFTER
        in_use = [watch for key, watch in self.watches.items() if self.looked_at.get(key, 0) >= oldest]
        return [watch.alarm for watch in in_use if watch.alarm is not None]


class RoutingMonitor:
    """An observer that compares the routing of answered images with the baselines of their artifacts.

    Use it in the event loop only. Images whose controls have no baseline are counted, and not compared: so
    neither a caller who asks for other experts nor a brownout looks like drift.
    """

    def __init__(
        self, repository: Path, metrics: ExpertMetrics, on_ranked: Callable[[Ranked], None] | None = None
    ) -> None:
        """Begin without versions.

        Args:
            repository: baselines are read from the artifacts in it.
            metrics: the series about experts.
            on_ranked: is called for every image that was compared with a baseline, unless a router gave NaN.
        """
        self._repository = repository
        self._metrics = metrics
        self._on_ranked = on_ranked
        self._watched: dict[tuple[str, str], WatchedVersion] = {}  # by backend and sha256 of the manifest
        self._known: set[tuple[str, str]] | None = None  # None: every version may be watched
        self._reading: set[asyncio.Task[None]] = set()

    def __iter__(self) -> Iterator[WatchedVersion]:
        """Iterate over the versions that answered images, in order of their first image."""
        return iter(self._watched.values())

    def verdict(self, version: ServedVersion) -> RoutingVerdict:
        """Return whether the images that a version answered are routed as in its baseline."""
        if version.manifest.routing == "static":
            return RoutingVerdict("static")
        watched = self._watched.get((version.backend_name, version.sha256))
        return _NORMAL if watched is None else watched.verdict

    def reset(self) -> None:
        """Forget all images, as after a start; baselines are read again."""
        for task in self._reading:
            task.cancel()
        for watched in self._watched.values():
            self._metrics.forget_routing(*_labels(watched.version))
            self._export_state(watched, drifting=False)
        self._watched.clear()

    def follow(self, known: set[tuple[str, str]]) -> None:
        """Forget all versions that no backend has any more, and do not watch their last answers.

        Otherwise each reload would take memory, and a removed version could be reported as drifting for ever.

        Args:
            known: the backend and the sha256 of each version that a backend has.
        """
        self._known = known
        for key in self._watched.keys() - known:
            self._metrics.forget_routing(*_labels(self._watched.pop(key).version))

    def answered(self, image: Answered) -> None:
        """Compare the routing of an answered image with the baseline for its controls."""
        version = image.version
        if not version.manifest.mixture or version.manifest.routing == "static":
            return
        key = (version.backend_name, version.sha256)
        if self._known is not None and key not in self._known:
            return
        watched = self._watched.get(key) or self._begin(version)
        watch = watched.watches.get(_key(image.params.controls))
        if watch is None:
            watched.unjudged += 1
            watched.counters.unjudged.inc()
            return
        watched.judged += 1
        watched.counters.judged.inc()
        finite = watch.add(image.experts)
        if not finite:
            watched.counters.not_a_number.inc()
        elif self._on_ranked is not None:
            self._on_ranked(Ranked(image, *watch.window.latest, watch.reference))
        if watch.count % STEP == 0 or not finite:
            self._look(watched, watch)

    def refused(self, error: ServiceError, context: RequestContext) -> None:
        """Do nothing: an image that was not answered was not routed."""

    def _begin(self, version: ServedVersion) -> WatchedVersion:
        """Begin to watch a version, and read its baseline in a thread."""
        counters = self._metrics.counters(*_labels(version))
        watched = WatchedVersion(version, Layers.of(version.manifest), counters, datetime.now(UTC))
        self._watched[version.backend_name, version.sha256] = watched
        task = asyncio.get_running_loop().create_task(self._read(watched))
        self._reading.add(task)
        task.add_done_callback(self._reading.discard)
        return watched

    async def _read(self, watched: WatchedVersion) -> None:
        try:
            references = await asyncio.to_thread(
                _references, self._repository, watched.version, watched.layers
            )
        except (ArtifactBroken, OSError) as error:
            watched.why_unwatched = str(error)
            log.warning("routing_not_watched", extra={"model": watched.manifest.name, "why": str(error)})
            return
        except Exception:
            watched.why_unwatched = "a defect in the gateway; its log has the reason"
            log.exception("routing_not_watched", extra={"model": watched.manifest.name})
            return
        if self._watched.get((watched.version.backend_name, watched.version.sha256)) is not watched:
            return  # the version is gone
        if not references:
            watched.why_unwatched = _NO_BASELINE
            return
        watched.watches = {_key(each.controls): Watch(each, watched.layers) for each in references}
        watched.why_unwatched = ""
        self._export_state(watched, drifting=False)

    def _look(self, watched: WatchedVersion, watch: Watch) -> None:
        """Record what the last look at a setting found."""
        watched.looked_at[_key(watch.reference.controls)] = watched.judged
        watched.latest = watch
        # The clearest alarm; but alarms of layers come before that of the path, because they say more.
        alarm = min(watched.alarms, key=lambda each: (each.layer == PATH, each.pvalue), default=None)
        was = watched.verdict
        if alarm is None:
            watched.verdict = _NORMAL
        elif was.state != "drifting" or was.layer != alarm.layer:
            since = was.since or datetime.now(UTC)
            watched.verdict = RoutingVerdict("drifting", alarm.layer, alarm.test, since)
        if watched.verdict.state != was.state:
            self._changed(watched, watch, alarm)

    def _changed(self, watched: WatchedVersion, watch: Watch, alarm: Alarm | None) -> None:
        state: Literal["normal", "drifting"] = "drifting" if alarm else "normal"
        event = Event(datetime.now(UTC), state, watch.reference.controls, alarm)
        watched.events = [*watched.events, event][-_EVENTS_KEPT:]
        facts = {
            "model": watched.manifest.name,
            "version": watched.manifest.version,
            "backend": watched.version.backend_name,
        }
        if alarm is None:
            log.info("routing_normal", extra=facts)
        else:
            log.warning("routing_drifting", extra={**facts, "layer": alarm.layer, "test": alarm.test})

    def export(self) -> None:
        """Export what the last looks found; call this whenever the metrics are about to be read."""
        for watched in self._watched.values():
            if watched.latest is not None:
                labels = _labels(watched.version)
                self._export_state(watched, drifting=watched.verdict.state == "drifting")
                self._metrics.novelty.labels(*labels).set(watched.latest.window.novelty)
            # The gauges of layers would jump between settings; GET /routing has them all.
            default = _key(_defaults(watched.manifest))
            if default in watched.looked_at:
                self._export_layers(watched, watched.watches[default])

    def _export_layers(self, watched: WatchedVersion, watch: Watch) -> None:
        metrics, labels = self._metrics, _labels(watched.version)
        for name, state in watch.states.items():
            metrics.drift_bits.labels(*labels, name).set(state.drift_bits)
            metrics.drift_pvalue.labels(*labels, name).set(state.pvalue)
        for name, dead in zip(watched.layers.names, watch.dead, strict=True):
            state = watch.states[name]
            metrics.diversity.labels(*labels, name).set(diversity(state.shares))
            metrics.balance.labels(*labels, name).set(jain(state.shares))
            metrics.entropy_outside.labels(*labels, name).set(state.entropy_outside)
            for expert, share in enumerate(state.shares.tolist()):
                metrics.share.labels(*labels, name, str(expert)).set(share)
                metrics.dead.labels(*labels, name, str(expert)).set(expert in dead)
                metrics.hot.labels(*labels, name, str(expert)).set(expert in state.hot)

    def _export_state(self, watched: WatchedVersion, *, drifting: bool) -> None:
        self._metrics.drifting.labels(*_labels(watched.version)).set(drifting)


def _labels(version: ServedVersion) -> tuple[str, str, str]:
    return version.manifest.name, version.manifest.version, version.backend_name


def _defaults(manifest: Manifest) -> dict[str, Number]:
    return {row.name: row.default for row in manifest.controls}


def _key(controls: Mapping[str, Number]) -> Controls:
    return tuple(sorted(controls.items()))


def _references(repository: Path, version: ServedVersion, layers: Layers) -> list[Reference]:
    """Return the references of a version's artifact; empty if the artifact has no measured routing.

    Raises:
        ArtifactBroken: the repository has another artifact than the one that is served, or a damaged one.
        OSError: the artifact is not in the repository; Triton may have its own.
    """
    manifest = version.manifest
    if manifest.baseline is None or manifest.baseline.routing is None:
        return []
    folder = repository / f"{manifest.name}-{manifest.target}" / manifest.version
    if hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest() != version.sha256:
        raise ArtifactBroken(
            f"{folder} has changed since {version.backend_name} loaded it; reload the models"
        )
    rows = [layer.row for layer in manifest.mixture]
    measured = read_routing(folder, manifest)
    return [found for each in measured if (found := Reference.of(each, layers, rows)) is not None]
