"""A concurrency limit: so many calls to a backend at once, the others wait, counted, until their deadline."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import perf_counter

from service.request import RequestContext


class ConcurrencyLimit:
    """A queue in front of one backend, first come, first served. Used from the event loop only."""

    def __init__(
        self,
        limit: int,
        on_depth: Callable[[int], None] = lambda depth: None,
        on_wait_s: Callable[[float], None] = lambda wait_s: None,
    ) -> None:
        """Allow `limit` calls at once; `on_depth` hears how many wait, `on_wait_s` how long each did."""
        self._free = asyncio.Semaphore(limit)
        self._on_depth = on_depth
        self._on_wait_s = on_wait_s
        self._waiting = 0

    @asynccontextmanager
    async def acquire(self, context: RequestContext) -> AsyncIterator[float]:
        """Wait for a free place and hold it; give the seconds waited.

        Raises:
            DeadlineExceeded: no place was free in time.
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
