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
    ) -> None:
        """Allow at most `limit` calls at once.

        Args:
            limit: maximum number of calls at once.
            on_depth: called with the number of waiting calls whenever it changes.
            on_wait_s: called with the seconds that each call waited.
        """
        self._free = asyncio.Semaphore(limit)
        self._on_depth = on_depth
        self._on_wait_s = on_wait_s
        self._waiting = 0

    @asynccontextmanager
    async def acquire(self, context: RequestContext) -> AsyncIterator[float]:
        """Wait until a call may run, and count it as running during the block; yield the seconds waited.

        Raises:
            DeadlineExceeded: the deadline passed before the limit allowed this call to run.
        """
        began = perf_counter()
        self._count(+1)
        try:
            async with context.in_time():
                await self._free.acquire()
        finally:
            self._count(-1)
        wait_s = perf_counter() - began
        self._on_wait_s(wait_s)
        try:
            yield wait_s
        finally:
            self._free.release()

    def _count(self, change: int) -> None:
        self._waiting += change
        self._on_depth(self._waiting)
