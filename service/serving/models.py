"""Keep the served models: one route for each model and backend, with the versions served there."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from service.artifact.manifest import Manifest
from service.artifact.repository import how_to_export
from service.backends.table import BACKENDS
from service.errors import NotReady, ServiceError, UnknownModel, slug_of
from service.metrics import Metrics
from service.settings import BackendName, Settings
from service.traffic.breaker import Breaker, State
from service.traffic.brownout import Brownout
from service.traffic.routes import Route, ServedVersion, VersionStatus
from service.traffic.turns import Turns

log = logging.getLogger(__name__)


class Models:
    """Every model that is or was served, by name. Use it in the event loop only."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        """Create an empty collection of models."""
        self._settings = settings
        self._metrics = metrics
        self._routes: dict[str, dict[str, Route]] = {}
        self._default = settings.default_model
        self._announced: set[tuple[str, str, str, str]] = set()  # label values of the info series
        self._turns = {
            name: Turns(
                BACKENDS[name].limit(settings),
                partial(metrics.set_queue_depth, name),
                partial(metrics.record_queue_wait, name),
            )
            for name in settings.backends
        }
        self._brownouts = {
            name: Brownout(settings.brownout, partial(metrics.brownout_stepped, name))
            for name in settings.backends
        }
        self.first_ready = asyncio.Event()  # set when a backend can first serve the default model
        self.broken: dict[str, Mapping[str, str]] = {}  # by backend and model, why a version is not served
        self.notes: dict[str, str] = {}  # warning for the operator, by backend; an empty text is no warning
        self.on_change: list[Callable[[], None]] = []  # called when served versions have changed

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the models, sorted."""
        return tuple(sorted(self._routes))

    @property
    def default(self) -> str | None:
        """Return the name of the default model, for requests that name no model; None without models."""
        return self._default

    def add(self, name: str) -> Mapping[str, Route]:
        """Add a model unless it is already known; return its routes by backend, preferred first.

        The routes of a new model have no versions yet.
        """
        if name not in self._routes:
            self._routes[name] = {backend: self._route(backend, name) for backend in self._settings.backends}
        return self._routes[name]

    def routes(self, name: str | None) -> Mapping[str, Route]:
        """Return the routes of a model by backend, preferred first; None stands for the default model.

        Raises:
            NotReady: there is no model yet; or `name` is None, and the default model is not available yet.
            UnknownModel: there is no model with this name.
        """
        wanted = self._default if name is None else name
        if wanted is None or not self._routes or (name is None and wanted not in self._routes):
            raise NotReady(self.why_not_ready() or "there is no model yet")
        if wanted not in self._routes:
            raise UnknownModel(wanted, self.names)
        return self._routes[wanted]

    def in_force(self) -> tuple[ServedVersion, ...]:
        """Return the version that each route serves by default, for all routes that have a version."""
        routes = [route for by_backend in self._routes.values() for route in by_backend.values()]
        return tuple(route.current for route in routes if route.current is not None)

    def known(self) -> set[tuple[str, str]]:
        """Return the backend and the sha256 of every version, also of those that cannot be served now."""
        routes = [route for by_backend in self._routes.values() for route in by_backend.values()]
        return {(route.backend_name, one.sha256) for route in routes for one in route.statuses}

    def put(
        self,
        backend: str,
        name: str,
        versions: Mapping[str, ServedVersion],
        statuses: Sequence[VersionStatus],
    ) -> None:
        """Replace the served versions of a model on a backend; later requests use the new versions."""
        route = self.add(name)[backend]
        before = route.current
        route.set_versions(versions)
        self._metrics.paths.forget_shares(name, backend)
        for version in versions.values():
            if (paths := version.manifest.paths) is not None:
                labels = (name, version.manifest.version, backend)
                self._metrics.paths.declare(*labels, paths.count, paths.share)
        route.statuses = tuple(statuses)
        self._announce()
        self._show_health(backend)
        after = route.current
        if (before and before.sha256) != (after and after.sha256):
            facts = {"backend": backend, "model": name, "version": after and after.manifest.version}
            log.info("version_in_force", extra=facts)
        self._note_quarantines()
        self._tell()

    def quarantine(self, name: str, backend: str, sha256: str, why: str) -> None:
        """Send no more requests to a version on a backend; move its images to another backend if possible.

        The quarantine ends when `release` is called, or when the backend serves a version with another
        sha256.
        """
        route = self._routes[name][backend]
        route.quarantined[sha256] = why
        route.abandon()
        self._show_health(backend)
        self._note_quarantines()

    def release(self, name: str, backend: str) -> bool:
        """End all quarantines of a model on a backend; return whether there was one.

        Raises:
            UnknownModel: there is no model with this name.
        """
        route = self.routes(name).get(backend)
        if route is None or not route.quarantined:
            return False
        route.quarantined.clear()
        self._show_health(backend)
        self._note_quarantines()
        return True

    def set_broken(self, backend: BackendName, broken: Mapping[str, str]) -> None:
        """Record which local models of a backend cannot be served in their newest version, and why.

        Also forget the models that are no longer served or broken. If a Triton server is configured, forget
        no model, because Triton may serve it later.
        """
        self.broken[backend] = broken
        self.notes[backend] = "; ".join(f"model {name!r} on {backend}: {why}" for name, why in broken.items())
        self._metrics.set_broken_models(backend, len(broken))
        for name, why in broken.items():
            self.add(name)[backend].why_empty = f"model {name!r} cannot be served on {backend}: {why}"
        if any(BACKENDS[one].open is None for one in self._settings.backends):
            return  # Triton may serve a model at any time
        known = {name for each in self.broken.values() for name in each}
        for name in self._routes.keys() - known:
            if not any(route.statuses for route in self._routes[name].values()):
                del self._routes[name]
        self._tell()

    def settle_default(self) -> None:
        """Choose the first model by name as the default if none is set; later models do not change it.

        Also set the event `first_ready` if a backend can serve the default model; the service waits for this
        event before it reports that the models are loaded.
        """
        if self._default is None and self._routes:
            self._default = self.names[0]
        if self.why_not_ready() is None:
            self.first_ready.set()

    def why_not_ready(self) -> str | None:
        """Return why no backend can serve the default model; None if at least one backend can."""
        if self._default is None or self._default not in self._routes:
            what = "no model" if self._default is None else f"no model {self._default!r}"
            return "; ".join((f"there is {what} yet", *filter(None, self.notes.values())))
        routes = self._routes[self._default].values()
        if any(route.healthy for route in routes):
            return None
        reasons = [route.why_closed(route.current) if route.current else route.why_empty for route in routes]
        return "; ".join(dict.fromkeys((*reasons, *filter(None, self.notes.values()))))

    def _route(self, backend: BackendName, name: str) -> Route:
        def on_change(state: State) -> None:
            self._metrics.set_breaker_state(backend, name, state)
            self._show_health(backend)
            facts = {"backend": backend, "model": name}
            if state is State.OPEN:
                route.abandon()
            if (
                state is State.OPEN and breaker.before is State.CLOSED
            ):  # not at each failed probe of an outage
                log.warning("breaker_opened", extra={**facts, "why": breaker.why})
            elif state is State.CLOSED:
                log.info("breaker_closed", extra=facts)

        def on_error(error: ServiceError) -> None:
            self._metrics.backend_failed(backend, slug_of(type(error)))

        breaker = Breaker(self._settings.breaker.failures, on_change)
        route = Route(backend, name, breaker, self._turns[backend], self._brownouts[backend], on_error)
        if BACKENDS[backend].open is not None:
            export = how_to_export(name, BACKENDS[backend].target(self._settings))
            route.why_empty = f"{backend} has no model {name!r}; {export}, and reload the models"
        self._metrics.set_breaker_state(backend, name, breaker.state)
        return route

    def _note_quarantines(self) -> None:
        routes = [route for by_backend in self._routes.values() for route in by_backend.values()]
        served = [(route, route.current) for route in routes if route.current is not None]
        stopped = [route.quarantined.get(current.sha256, "") for route, current in served]
        self.notes["audits"] = "; ".join(filter(None, stopped))

    def _tell(self) -> None:
        for tell in self.on_change:
            tell()

    def _show_health(self, backend: str) -> None:
        up = any(routes[backend].healthy for routes in self._routes.values())
        self._metrics.set_backend_up(backend, up)

    def _announce(self) -> None:
        served = {}
        for routes in self._routes.values():
            for version in (one for route in routes.values() for one in route.versions.values()):
                manifest = version.manifest
                served[(manifest.name, manifest.version, version.sha256, manifest.routing)] = manifest
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
