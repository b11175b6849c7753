"""Probe a route repeatedly, so that requests soon avoid a dead backend, and use it again when healthy."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from service.artifact.manifest import Manifest
from service.backends.protocol import Backend, infer
from service.errors import BackendBusy, BackendUnavailable, DeadlineExceeded, ServiceError
from service.request import RequestContext
from service.settings import BreakerSettings
from service.traffic.breaker import State
from service.traffic.routes import Route, ServedVersion

log = logging.getLogger(__name__)

PROBE_ID = "sparsight-probe"


async def infer_blank(backend: Backend, manifest: Manifest, timeout_s: float) -> Mapping[str, NDArray[Any]]:
    """Run a graph on a blank image and return its outputs: the cheapest test that the model really runs."""
    inputs = manifest.feed(manifest.images.blank(), {})
    return await infer(backend, inputs, RequestContext.within(timeout_s, PROBE_ID))


class Prober:
    """A task that probes one route, and opens or closes the route's circuit breaker.

    While the breaker is closed, each probe checks that the server is live. If no answer has arrived since the
    last probe, the model also runs once on a blank image, because a server reports a model as ready even
    after the process that runs the model has died. While the breaker is open, the model must run on a blank
    image before requests are sent again. If a model with paths lacks only the graph of this image's path, the
    probe succeeds, because images on other paths can be answered.
    """

    def __init__(
        self,
        route: Route,
        settings: BreakerSettings,
        check: Callable[[ServedVersion, float], Awaitable[None]],
    ) -> None:
        """Prepare to probe a route.

        Args:
            route: the route whose breaker is opened and closed.
            settings: interval and time limit of the probes.
            check: called with a version and a time limit in seconds; raises if the server is not live, or has
                unloaded the version.
        """
        self._route = route
        self._interval_s = settings.probe_interval_s
        self._timeout_s = settings.probe_timeout_s
        self._idle_s = 0.9 * settings.probe_interval_s  # less than one interval: timers are not exact
        self._check = check

    async def run(self) -> None:
        """Probe the route at regular intervals, until this task is cancelled."""
        while True:
            await asyncio.sleep(self._interval_s)
            version = self._route.current
            if version is None:
                continue
            try:
                await self.look(version)
            except Exception:
                log.exception("probe_failed", extra={"backend": self._route.backend_name})

    async def look(self, version: ServedVersion) -> None:
        """Probe a version once, and record the outcome in the breaker."""
        breaker = self._route.breaker
        began = breaker.begin()
        try:
            if breaker.state is State.CLOSED:
                await self._check(version, self._timeout_s)
                if breaker.idle_s() < self._idle_s:
                    return
            breaker.probe_started()
            await infer_blank(version.backend, version.manifest, self._timeout_s)
        except BackendBusy:  # the queue is full, but the model behind it may be dead
            breaker.probe_undecided()
            return
        except DeadlineExceeded as error:
            if error.of_path:
                breaker.probe_succeeded()
                return
            sentence = f"{self._route.backend_name} did not run the model within {self._timeout_s:g} s"
            await self._slow_or_dead(version, began, sentence)
            return
        except ServiceError as error:
            unavailable = error if isinstance(error, BackendUnavailable) else None
            unloaded = unavailable is not None and unavailable.not_run
            if unavailable is not None and unavailable.of_path:
                breaker.probe_succeeded()  # the router answered, and other paths have graphs of their own
            elif unloaded:
                breaker.probe_undecided()  # not unhealthy
            else:
                breaker.probe_failed(began, str(error))
            if unloaded:
                await self._route.renew_within(self._timeout_s)  # read the repository again
            return
        breaker.probe_succeeded()

    async def _slow_or_dead(self, version: ServedVersion, began: float, sentence: str) -> None:
        """Record a probe that timed out.

        If the breaker is closed and the server is live, the probe counts as one failure. If the breaker is
        closed and the server is dead, the probe opens the breaker. In both cases, it has no effect if a
        request was answered after the probe began. A breaker that is not closed becomes open, or stays open.
        """
        breaker = self._route.breaker
        try:
            if breaker.state is State.CLOSED:
                await self._check(version, self._timeout_s / 2)
                if breaker.last_success <= began:
                    breaker.failed(began, sentence)
                return
        except ServiceError:
            pass  # the server does not answer the check either, so it is dead
        breaker.probe_failed(began, sentence)
