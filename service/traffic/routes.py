"""A route: one backend's versions of one model, whether it is well, and the calls under way there."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray

from service.artifact.manifest import Manifest
from service.backends.protocol import Backend
from service.errors import BackendUnavailable, DeadlineExceeded, ServiceError, UnknownVersion
from service.request import RequestContext
from service.settings import BackendName
from service.traffic.breaker import Breaker, State
from service.traffic.concurrency import ConcurrencyLimit
from service.types import RawOutputs

_FAIR_SHARE = 0.5  # a call that reached its backend with less of its time left says nothing about silence


@dataclass(frozen=True)
class ServedVersion:
    """One version of one model that has proved itself on one backend."""

    backend_name: BackendName
    manifest: Manifest
    sha256: str  # of manifest.json, which holds the sha256 of every other file
    backend: Backend


@dataclass(frozen=True)
class VersionStatus:
    """One version of a model that a backend has, whether or not it can be asked for."""

    manifest: Manifest
    sha256: str
    state: Literal["ready", "refused", "unavailable"]
    why: str = ""  # it is not ready


async def _nothing_new() -> None:
    pass


class Route:
    """One way to have a model run. Used from the event loop only.

    `versions` and `statuses` are replaced as a whole, never changed, so that a request which began with one
    version ends with it.
    """

    def __init__(
        self,
        backend_name: str,
        model: str,
        breaker: Breaker,
        limit: ConcurrencyLimit,
        on_error: Callable[[ServiceError], None] = lambda error: None,
    ) -> None:
        """Begin without any version.

        Args:
            backend_name: what a caller names it by.
            model: name of the model.
            breaker: of this backend and model.
            limit: of this backend, shared by its models.
            on_error: told every call that was not answered.
        """
        self.backend_name = backend_name
        self.model = model
        self.breaker = breaker
        self.limit = limit
        self._on_error = on_error
        self.renew: Callable[[], Awaitable[None]] = _nothing_new  # looks again at which versions there are
        self.versions: Mapping[str, ServedVersion] = {}  # by version, highest first
        self.statuses: tuple[VersionStatus, ...] = ()
        self.why_empty = f"{backend_name} has not said yet whether it serves {model!r}"
        self._movable: set[asyncio.Future[Any]] = set()

    @property
    def current(self) -> ServedVersion | None:
        """Return the version in force: the highest."""
        return next(iter(self.versions.values()), None)

    def set_versions(self, versions: Mapping[str, ServedVersion]) -> None:
        """Put other versions in force, by version."""
        self.versions = dict(sorted(versions.items(), key=lambda item: int(item[0]), reverse=True))

    def get(self, version: str | None) -> ServedVersion:
        """Return a version, or the one in force.

        Raises:
            UnknownVersion: this one is not served here.
            BackendUnavailable: none is.
        """
        if self.current is None:
            raise BackendUnavailable(self.why_empty)
        if version is None:
            return self.current
        if version not in self.versions:
            raise UnknownVersion(self.model, version, tuple(self.versions))
        return self.versions[version]

    def check_open(self) -> None:
        """Do nothing if requests may go here.

        Raises:
            BackendUnavailable: the breaker keeps them away.
        """
        if self.breaker.state is not State.CLOSED:
            raise BackendUnavailable(self.breaker.why)

    @property
    def healthy(self) -> bool:
        """Tell whether requests may go here, and there is a version to answer them."""
        return self.current is not None and self.breaker.state is State.CLOSED

    async def renew_within(self, limit_s: float) -> bool:
        """Look again at which versions there are; False if that takes longer than somebody can wait."""
        try:
            async with asyncio.timeout(limit_s):
                await self.renew()
        except TimeoutError:
            return False
        return True

    async def infer(
        self,
        version: ServedVersion,
        inputs: Mapping[str, NDArray[Any]],
        context: RequestContext,
        *,
        movable: bool,
    ) -> tuple[RawOutputs, float]:
        """Run a graph as soon as the limit allows, and tell the breaker how that went.

        Return the outputs, and the seconds waited.

        Args:
            version: which one.
            inputs: for the graph, by name.
            context: for whom, and until when.
            movable: another backend could do it: do not wait for this one to the end if its breaker opens.
        """
        try:
            return await self._infer(version, inputs, context, movable=movable)
        except ServiceError as error:
            self._on_error(error)
            raise

    async def _infer(
        self,
        version: ServedVersion,
        inputs: Mapping[str, NDArray[Any]],
        context: RequestContext,
        *,
        movable: bool,
    ) -> tuple[RawOutputs, float]:
        began = self.breaker.begin()
        work = asyncio.ensure_future(self._in_limit(version, inputs, context))
        if movable:
            self._movable.add(work)
        try:
            answer = await work
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if work.cancelled() and task is not None and not task.cancelling():
                why = self.breaker.why or f"{self.backend_name} was silent for too long"
                raise BackendUnavailable(why) from None  # abandoned, see below
            raise
        except BackendUnavailable as error:
            if not error.not_run:
                self.breaker.failed(began, str(error), at_once=error.lost)
            raise
        except DeadlineExceeded as error:
            # A backend that answered others meanwhile is slow or full, and not silent.
            if error.silent and self.breaker.last_success <= began:
                self.breaker.failed(began, f"{self.backend_name} did not answer within {error.allowed_s:g} s")
            raise
        finally:
            self._movable.discard(work)
        self.breaker.succeeded(began)
        return answer

    def abandon(self) -> None:
        """End the calls that another backend could take over."""
        for work in self._movable:
            work.cancel()

    async def _in_limit(
        self, version: ServedVersion, inputs: Mapping[str, NDArray[Any]], context: RequestContext
    ) -> tuple[RawOutputs, float]:
        async with self.limit.acquire(context) as wait_s:
            given_s = context.left_s()
            try:
                outputs = await version.backend.infer(inputs, context)
            except DeadlineExceeded as error:
                if given_s >= _FAIR_SHARE * context.allowed_s:
                    raise
                raise DeadlineExceeded(error.allowed_s) from error  # the time went by in our own queue
        return outputs, wait_s
