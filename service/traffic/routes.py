"""Run a model on one backend: a route holds the served versions, the breaker and the running calls."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from service.artifact.manifest import Manifest
from service.backends.protocol import Backend, Job
from service.errors import (
    BACKEND_ERRORS,
    BackendUnavailable,
    DeadlineExceeded,
    ServiceError,
    UnknownVersion,
)
from service.request import RequestContext
from service.settings import BackendName
from service.traffic.breaker import Breaker, State
from service.traffic.brownout import Brownout
from service.traffic.turns import Lane, Turns

T = TypeVar("T")


class Users:
    """A counter of the requests that use a version; its backend may be closed only after the last request."""

    def __init__(self) -> None:
        """Create a counter at 0."""
        self._count = 0
        self._none = asyncio.Event()
        self._none.set()

    @contextmanager
    def add(self) -> Iterator[None]:
        """Count one more request during the block."""
        self._count += 1
        self._none.clear()
        try:
            yield
        finally:
            self._count -= 1
            if self._count == 0:
                self._none.set()

    async def until_none(self) -> None:
        """Wait until no request uses the version."""
        await self._none.wait()


@dataclass(frozen=True)
class ServedVersion:
    """One version of one model that has passed its check on one backend."""

    backend_name: BackendName
    manifest: Manifest
    sha256: str  # sha256 of manifest.json, which contains the sha256 of every other file
    backend: Backend
    users: Users = field(default_factory=Users, compare=False)


@dataclass(frozen=True)
class VersionStatus:
    """The status of one version that a backend has, whether or not requests can use the version."""

    manifest: Manifest
    sha256: str
    state: Literal["ready", "refused", "unavailable", "quarantined"]
    why: str = ""  # why the version is not ready; empty if it is


async def _nothing_new() -> None:
    pass


class Route:
    """One model on one backend. Use it in the event loop only.

    `versions` and `statuses` are replaced as a whole and never changed in place, so that a request uses the
    same version from beginning to end.
    """

    def __init__(
        self,
        backend_name: str,
        model: str,
        breaker: Breaker,
        turns: Turns,
        brownout: Brownout,
        on_error: Callable[[ServiceError], None] = lambda error: None,
    ) -> None:
        """Create a route without versions.

        Args:
            backend_name: name of the backend, as in the parameter `backend`.
            model: name of the model.
            breaker: circuit breaker of this backend and model.
            turns: turns of this backend, shared by all its models.
            brownout: controller of how many experts run on this backend.
            on_error: called with every error of the backend.
        """
        self.backend_name = backend_name
        self.model = model
        self.breaker = breaker
        self.turns = turns
        self.brownout = brownout
        self._on_error = on_error
        self.renew: Callable[[], Awaitable[None]] = _nothing_new  # reads the backend's versions again
        self.versions: Mapping[str, ServedVersion] = {}  # by version, highest first
        self.statuses: tuple[VersionStatus, ...] = ()
        self.quarantined: dict[str, str] = {}  # why a version gets no requests, by its sha256
        self.why_empty = f"it is not known yet whether {backend_name} serves {model!r}"
        self._movable: set[asyncio.Future[Any]] = set()

    @property
    def current(self) -> ServedVersion | None:
        """Return the highest version, which answers by default; None if there is no version."""
        return next(iter(self.versions.values()), None)

    def set_versions(self, versions: Mapping[str, ServedVersion]) -> None:
        """Replace all versions; the keys are version numbers."""
        self.versions = dict(sorted(versions.items(), key=lambda item: int(item[0]), reverse=True))

    def get(self, version: str | None) -> ServedVersion:
        """Return the requested version; the highest version if `version` is None.

        Raises:
            UnknownVersion: the requested version is not served on this route.
            BackendUnavailable: no version is served on this route.
        """
        if self.current is None:
            raise BackendUnavailable(self.why_empty)
        if version is None:
            return self.current
        if version not in self.versions:
            raise UnknownVersion(self.model, version, tuple(self.versions))
        return self.versions[version]

    def check_open(self, version: ServedVersion) -> None:
        """Check that the circuit breaker lets requests through, and that the version is not in quarantine.

        Raises:
            BackendUnavailable: the breaker is open or half open, or the version is in quarantine.
        """
        if why := self.why_closed(version):
            raise BackendUnavailable(why)

    def why_closed(self, version: ServedVersion) -> str:
        """Return why requests for a version get no answer here; empty if they get one."""
        if self.breaker.state is not State.CLOSED:
            return self.breaker.why or f"{self.backend_name} does not answer"
        return self.quarantined.get(version.sha256, "")

    @property
    def healthy(self) -> bool:
        """Return whether requests for the highest version get an answer here."""
        return self.current is not None and not self.why_closed(self.current)

    @property
    def is_quarantined(self) -> bool:
        """Return whether the highest version is in quarantine."""
        return self.current is not None and self.current.sha256 in self.quarantined

    async def renew_within(self, limit_s: float) -> bool:
        """Read the backend's versions again; return False if this takes longer than `limit_s` seconds."""
        try:
            async with asyncio.timeout(limit_s):
                await self.renew()
        except TimeoutError:
            return False
        return True

    @asynccontextmanager
    async def turn(self, size_bytes: int, context: RequestContext, *, movable: bool) -> AsyncIterator[float]:
        """Wait for an image's turn on the backend, and hold it during the block; yield the seconds waited.

        Args:
            size_bytes: size of the image file.
            context: priority and deadline of the request.
            movable: whether another backend can serve the image. If true, and the breaker opens during the
                wait, the wait ends with BackendUnavailable.

        Raises:
            DeadlineExceeded: the deadline passed before the turn came.
            BackendUnavailable: the backend stopped answering during the wait.
        """
        lane = Lane.of(context.priority, self.model, size_bytes)
        async with self.turns.take(lane, context, movable=movable) as wait_s:
            self.brownout.waited(wait_s, self.turns.mean_s(lane))
            yield wait_s

    async def run(self, version: ServedVersion, job: Job[T], context: RequestContext, *, movable: bool) -> T:
        """Run a job, record in the breaker whether the backend answered, and return the job's result.

        Args:
            version: the version to run.
            job: the work around the graph.
            context: id and deadline of the request.
            movable: whether another backend can run the request. If true, and the breaker opens during this
                call, the call is cancelled and raises BackendUnavailable.
        """
        try:
            return await self._run(version, job, context, movable=movable)
        except BACKEND_ERRORS as error:
            self._on_error(error)
            raise

    async def _run(self, version: ServedVersion, job: Job[T], context: RequestContext, *, movable: bool) -> T:
        began = self.breaker.begin()
        work = asyncio.ensure_future(version.backend.run(job, context))
        if movable:
            self._movable.add(work)
        try:
            answer = await work
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if work.cancelled() and task is not None and not task.cancelling():
                raise BackendUnavailable(self._why_abandoned()) from None
            raise
        except BackendUnavailable as error:
            if not (error.not_run or error.of_path):
                self.breaker.failed(began, str(error), at_once=error.lost)
            raise
        except DeadlineExceeded as error:
            # A backend that has answered other requests in this time is slow or full, but not silent.
            if error.silent and self.breaker.last_success <= began:
                self.breaker.failed(began, f"{self.backend_name} did not answer within {error.allowed_s:g} s")
            raise
        finally:
            self._movable.discard(work)
        self.breaker.succeeded(began)
        return answer

    def abandon(self) -> None:
        """Cancel those waiting and running images that another backend can take over."""
        self.turns.turn_away(self.model, self._why_abandoned())
        for work in self._movable:
            work.cancel()

    def _why_abandoned(self) -> str:
        closed = "" if self.current is None else self.why_closed(self.current)
        return closed or self.breaker.why or f"{self.backend_name} was silent for too long"
