"""Limit the number of simultaneous calls to a backend; further calls wait, at most until their deadline."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import perf_counter

from service.request import RequestContext


class ConcurrencyLimit:
    """A concurrency limit for one backend with a first-in, first-out queue. Use it in the event loop only."""

    def __init__(
        self,
        limit: int,
        on_depth: Callable[[int], None] = lambda depth: None,
        on_wait_s: Callable[[float], None] = lambda wait_s: None,
        ahead: int = 1,
    ) -> None:
        """Allow at most `limit` calls at once.

        Args:
            limit: maximum number of calls at once.
            on_depth: called with the number of waiting calls whenever it changes.
            on_wait_s: called with the seconds that each call waited.
            ahead: maximum number of further calls that are prepared meanwhile; see `room`.
        """
        self._free = asyncio.Semaphore(limit)
        self._room = asyncio.Semaphore(limit + ahead)
        self._on_depth = on_depth
        self._on_wait_s = on_wait_s
        self._waiting = 0

    @asynccontextmanager
    async def room(self, context: RequestContext) -> AsyncIterator[float]:
        """Wait until a call is worth preparing, since it may soon run; yield the seconds waited.

        The block prepares the call and makes it, with `acquire`. An image therefore waits as a file, and not
        as its pixels, which need ten times the memory.

        Raises:
            DeadlineExceeded: the deadline passed before there was room.
        """
        wait_s = await self._wait(self._room, context)
        try:
            yield wait_s
        finally:
            self._room.release()

    @asynccontextmanager
    async def acquire(self, context: RequestContext, waited_s: float = 0.0) -> AsyncIterator[float]:
        """Wait until a call may run, and count it as running during the block; yield the seconds waited.

        Args:
            context: id and deadline of the request.
            waited_s: seconds that the call waited for `room`, which count as waiting too.

        Raises:
            DeadlineExceeded: the deadline passed before the limit allowed this call to run.
        """
        wait_s = await self._wait(self._free, context)
        self._on_wait_s(waited_s + wait_s)
        try:
            yield wait_s
        finally:
            self._free.release()

    async def _wait(self, places: asyncio.Semaphore, context: RequestContext) -> float:
        began = perf_counter()
        self._count(+1)
        try:
            async with context.in_time():
                await places.acquire()
        finally:
            self._count(-1)
        return perf_counter() - began

    def _count(self, change: int) -> None:
        self._waiting += change
        self._on_depth(self._waiting)
