"""Run blocking work in threads, within a deadline, and drop queued work whose caller has gone."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from service.errors import OutOfResources
from service.request import RequestContext

T = TypeVar("T")


class Threads:
    """A pool with a fixed number of threads and one queue."""

    def __init__(self, count: int, name: str) -> None:
        """Prepare `count` threads with the name prefix `name`; they start when there is work."""
        self._executor = ThreadPoolExecutor(count, thread_name_prefix=name)

    async def run(self, context: RequestContext, work: Callable[[], T]) -> T:
        """Run `work` in a thread and return its result.

        If the calling task is cancelled while `work` is still queued, `work` is dropped.

        Raises:
            DeadlineExceeded: `work` did not finish before the deadline.
            OutOfResources: there was too little memory for `work`, or no thread could be started for it.
        """
        async with context.in_time():
            try:
                # wrap_future passes a cancellation on to queued work; running work runs to its end.
                return await asyncio.wrap_future(self._executor.submit(work))
            except (MemoryError, RuntimeError) as error:
                if (lack := OutOfResources.of(error)) is None:
                    raise
                raise lack from error

    def close(self) -> None:
        """Wait for the work that is running, and drop the work that is queued."""
        self._executor.shutdown(cancel_futures=True)
