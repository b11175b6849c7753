"""Blocking work in threads: waited for until the deadline, and never begun once nobody waits."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from service.request import RequestContext

T = TypeVar("T")


class Threads:
    """A fixed number of threads with one queue."""

    def __init__(self, count: int, name: str) -> None:
        """Prepare `count` threads; they start with the first work."""
        self._executor = ThreadPoolExecutor(count, thread_name_prefix=name)

    async def run(self, context: RequestContext, work: Callable[[], T]) -> T:
        """Return what `work` returns. If the caller's task is cancelled, queued work is taken back.

        Raises:
            DeadlineExceeded: it was not done in time.
        """
        async with context.in_time():
            # wrap_future passes a cancellation on; a thread that has begun cannot be stopped, and is left.
            return await asyncio.wrap_future(self._executor.submit(work))

    def close(self) -> None:
        """Wait for the work that has begun, and drop what has not."""
        self._executor.shutdown(cancel_futures=True)
