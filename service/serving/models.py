"""The served models: a lane for each model and backend, and which version is in force there."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from functools import partial

from service.artifact.manifest import Manifest
from service.errors import NotReady, ServiceError, UnknownModel, slug_of
from service.metrics import Metrics
from service.settings import BackendName, Settings
from service.traffic.breaker import Breaker, State
from service.traffic.lanes import Lane, Listing, Offer
from service.traffic.turns import Turns

log = logging.getLogger(__name__)


class Models:
    """Every model that is or was served, by name. Belongs to the app; used in the event loop only."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        """Begin without a model."""
        self._settings = settings
        self._metrics = metrics
        self._lanes: dict[str, dict[str, Lane]] = {}
        self._default = settings.default_model
        self._announced: set[tuple[str, str, str, str]] = set()
        limits = {"openvino": settings.workers, "triton": settings.triton.max_inflight}
        self._turns = {
            name: Turns(
                limits[name],
                partial(metrics.set_queue_depth, name),
                partial(metrics.record_queue_wait, name),
            )
            for name in settings.backends
        }
        self.first_ready = asyncio.Event()  # some backend could serve the default model
        self.notes: dict[str, str] = {}  # what an operator should know, by backend; empty: nothing

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the models, in order."""
        return tuple(sorted(self._lanes))

    @property
    def default(self) -> str | None:
        """The model of a request that names none; None while there is no model."""
        return self._default

    def add(self, name: str) -> Mapping[str, Lane]:
        """Return the lanes of a model by backend, preferred first; empty lanes at first."""
        if name not in self._lanes:
            self._lanes[name] = {backend: self._lane(backend, name) for backend in self._settings.backends}
        return self._lanes[name]

    def lanes(self, name: str | None) -> Mapping[str, Lane]:
        """Return the lanes of a model; None asks for the default.

        Raises:
            NotReady: there is no model at all yet, or not the default one.
            UnknownModel: there is none of this name.
        """
        wanted = self._default if name is None else name
        if wanted is None or not self._lanes or (name is None and wanted not in self._lanes):
            raise NotReady(self.why_not_ready() or "there is no model yet")
        if wanted not in self._lanes:
            raise UnknownModel(wanted, self.names)
        return self._lanes[wanted]

    def in_force(self) -> tuple[Offer, ...]:
        """Return the version in force in every lane that has one."""
        lanes = [lane for by_backend in self._lanes.values() for lane in by_backend.values()]
        return tuple(lane.current for lane in lanes if lane.current is not None)

    def put(self, backend: str, name: str, offers: Mapping[str, Offer], listings: Sequence[Listing]) -> None:
        """Put versions of a model in force on a backend, at once for all requests that begin from now on."""
        lane = self.add(name)[backend]
        before = lane.current
        lane.set_offers(offers)
        lane.listings = tuple(listings)
        self._announce()
        self._show_health(backend)
        after = lane.current
        if (before and before.sha256) != (after and after.sha256):
            facts = {"backend": backend, "model": name, "version": after and after.manifest.version}
            log.info("version in force", extra=facts)

    def settle_default(self) -> None:
        """If no default is set, make it the first by name; it stays, whatever models come later."""
        if self._default is None and self._lanes:
            self._default = self.names[0]
        if self.why_not_ready() is None:
            self.first_ready.set()

    def why_not_ready(self) -> str | None:
        """Say why the default model cannot be served; None if at least one backend can."""
        if self._default is None or self._default not in self._lanes:
            what = "no model" if self._default is None else f"no model {self._default!r}"
            return "; ".join((f"there is {what} yet", *filter(None, self.notes.values())))
        lanes = self._lanes[self._default].values()
        if any(lane.healthy for lane in lanes):
            return None
        reasons = [lane.breaker.why if lane.current else lane.why_empty for lane in lanes]
        return "; ".join(dict.fromkeys((*reasons, *filter(None, self.notes.values()))))

    def _lane(self, backend: BackendName, name: str) -> Lane:
        def on_change(state: State) -> None:
            self._metrics.set_breaker_state(backend, name, state)
            self._show_health(backend)
            facts = {"backend": backend, "model": name, "state": state.name.lower(), "why": breaker.why}
            if state is State.OPEN:
                lane.abandon()
                log.warning("breaker", extra=facts)
            elif state is State.CLOSED:
                log.info("breaker", extra=facts)

        def on_error(error: ServiceError) -> None:
            self._metrics.backend_failed(backend, slug_of(type(error)))

        breaker = Breaker(self._settings.breaker.failures, on_change)
        lane = Lane(backend, name, breaker, self._turns[backend], on_error)
        self._metrics.set_breaker_state(backend, name, breaker.state)
        return lane

    def _show_health(self, backend: str) -> None:
        up = any(lanes[backend].healthy for lanes in self._lanes.values())
        self._metrics.set_backend_up(backend, up)

    def _announce(self) -> None:
        served = {}
        for lanes in self._lanes.values():
            for offer in (offer for lane in lanes.values() for offer in lane.offers.values()):
                manifest = offer.manifest
                served[(manifest.name, manifest.version, offer.sha256, manifest.routing)] = manifest
        for labels in self._announced - served.keys():
            self._metrics.retire_model(*labels)
        for labels, manifest in served.items():
            if labels not in self._announced:
                self._metrics.declare_model(*labels)
                _declare_experts(manifest, self._metrics)
        self._announced = set(served)


def _declare_experts(manifest: Manifest, metrics: Metrics) -> None:
    for layer in manifest.mixture:
        metrics.declare_experts(
            manifest.name, manifest.version, layer.layer, layer.num_experts, layer.expert_share
        )
