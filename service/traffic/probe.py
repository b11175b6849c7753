"""Looks at one route again and again: a dead backend is left in seconds, and used again when it is well."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from service.artifact.manifest import Manifest
from service.backends.protocol import Backend
from service.errors import BackendBusy, BackendUnavailable, DeadlineExceeded, ServiceError
from service.request import RequestContext
from service.settings import BreakerSettings
from service.traffic.breaker import State
from service.traffic.routes import Route, ServedVersion

log = logging.getLogger(__name__)

PROBE_ID = "sparsight-probe"


async def infer_blank(backend: Backend, manifest: Manifest, timeout_s: float) -> Mapping[str, NDArray[Any]]:
    """Run a graph on an empty canvas: the smallest proof that a model is really there."""
    inputs = manifest.feed(manifest.images.blank(), {})
    return await backend.infer(inputs, RequestContext.within(timeout_s, PROBE_ID))


class Prober:
    """Moves the breaker of one route by proofs.

    While it is closed the server is asked whether it lives, and if no answer has come since the last look the
    model runs once on a blank canvas: a server says that a model is ready when the process that runs it has
    died. While it is open the model must run before anything else is sent.
    """

    def __init__(
        self,
        route: Route,
        settings: BreakerSettings,
        check: Callable[[ServedVersion, float], Awaitable[None]],
    ) -> None:
        """Watch a route.

        Args:
            route: whose breaker is moved.
            settings: how often, and how long a proof may take.
            check: asks, within some seconds, whether the server lives and has the version; raises if not.
        """
        self._route = route
        self._interval_s = settings.probe_interval_s
        self._timeout_s = settings.probe_timeout_s
        self._idle_s = 0.9 * settings.probe_interval_s  # less than one interval: timers are not exact
        self._check = check

    async def run(self) -> None:
        """Look, until cancelled."""
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
        """Look once."""
        breaker = self._route.breaker
        began = breaker.begin()
        try:
            if breaker.state is State.CLOSED:
                await self._check(version, self._timeout_s)
                if breaker.idle_s() < self._idle_s:
                    return
            breaker.probe_started()
            await infer_blank(version.backend, version.manifest, self._timeout_s)
        except BackendBusy:  # the queue is full, and what is behind it may be dead
            breaker.probe_undecided()
            return
        except DeadlineExceeded:
            sentence = f"{self._route.backend_name} did not run the model within {self._timeout_s:g} s"
            await self._slow_or_dead(version, began, sentence)
            return
        except ServiceError as error:
            if isinstance(error, BackendUnavailable) and error.not_run:
                breaker.probe_undecided()  # unloaded, not unwell: the repository says what is in force
                await self._route.renew_within(self._timeout_s)
            else:
                breaker.probe_failed(began, str(error))
            return
        breaker.probe_succeeded()

    async def _slow_or_dead(self, version: ServedVersion, began: float, sentence: str) -> None:
        """Judge a silent model: under a live server it may be slow, so that counts as one failure."""
        breaker = self._route.breaker
        try:
            if breaker.state is State.CLOSED:
                await self._check(version, self._timeout_s / 2)
                if breaker.last_success <= began:
                    breaker.failed(began, sentence)
                return
        except ServiceError:
            pass  # silent all over: dead
        breaker.probe_failed(began, sentence)
