"""Run blocking work in threads, within a deadline, and drop queued work whose caller has gone."""

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from service.request import RequestContext

T = TypeVar("T")


def yield_to_event_loop() -> None:
    """Let the event loop run before this thread, and before the threads that this thread starts.

    Otherwise, when every core is busy with inference, the loop waits for the processor, and refusals and
    probes are late. Only Linux has a priority for each thread.
    """
    if sys.platform == "linux":
        nice = os.getpriority(os.PRIO_PROCESS, 0)
        # A thread that is as nice as allowed stays so; other numbers only matter beside other threads.
        os.setpriority(
            os.PRIO_PROCESS, threading.get_native_id(), min(nice + int(os.environ.get("NICE", "5")), 19)
        )


class Threads:
    """A pool with a fixed number of threads and one queue."""

    def __init__(self, count: int, name: str) -> None:
        """Prepare `count` threads with the name prefix `name`; they start when there is work."""
        self._executor = ThreadPoolExecutor(count, thread_name_prefix=name, initializer=yield_to_event_loop)

    async def run(self, context: RequestContext, work: Callable[[], T]) -> T:
        """Run `work` in a thread and return its result.

        If the calling task is cancelled while `work` is still queued, `work` is dropped.

        Raises:
            DeadlineExceeded: `work` did not finish before the deadline.
        """
        async with context.in_time():
            # wrap_future passes a cancellation on to queued work; work that runs in a thread runs to its end.
            return await asyncio.wrap_future(self._executor.submit(work))

    def close(self) -> None:
        """Wait for the work that is running, and drop the work that is queued."""
        self._executor.shutdown(cancel_futures=True)
