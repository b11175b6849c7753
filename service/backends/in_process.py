"""Run a graph in this process: a whole job in one thread."""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping
from threading import Lock, Semaphore
from time import perf_counter
from typing import Any, TypeVar

from numpy.typing import NDArray

from service.backends.protocol import Job
from service.backends.threads import Threads
from service.request import RequestContext
from service.types import RawOutputs

AHEAD = 2
"""How many images a backend has beyond those whose graphs run.

While the event loop answers one image and calls the next, another is there already. With one image ahead,
streams of the engine were sometimes idle; a third gained nothing (`python -m tests.load.gateway --before`).
"""

T = TypeVar("T")


class InProcessBackend(ABC):
    """Runs graphs for up to `workers` images at once, while it prepares AHEAD more.

    A job stays in its thread from the file to the predictions. On a busy machine, each change of thread would
    wait for the interpreter, and the engine would wait for the next image.
    """

    def __init__(self, name: str, *, workers: int, at_once: int, streams: int) -> None:
        """Prepare the threads.

        Args:
            name: prefix of the names of the threads.
            workers: graphs that are meant to run at the same time.
            at_once: calls of `compute` at the same time: more than `streams` if the engine has a queue.
            streams: graphs that the engine really runs at the same time.
        """
        self._threads = Threads(workers + AHEAD, name)
        self._room = Semaphore(at_once)
        self._streams = Streams(streams)

    @abstractmethod
    def compute(self, inputs: Mapping[str, NDArray[Any]]) -> RawOutputs:
        """Run the graph in the calling thread; return the outputs by their names in the manifest.

        Raises:
            BackendFailed: the graph does not support the batch size, or the engine refused the input.
        """

    async def run(self, job: Job[T], context: RequestContext) -> T:
        """Run a job in a thread, and return its result.

        Raises:
            DeadlineExceeded: the job did not end before the deadline; the graph does not start after it.
            BackendFailed: see `compute`.
        """
        left = False  # whether nobody waits for the result any more

        def whole() -> T:
            inputs = job.prepare()
            with self._room:
                context.left_s()
                if left:
                    raise asyncio.CancelledError
                use = self._streams.begin()
                try:
                    outputs = self.compute(inputs)
                finally:
                    infer_s = self._streams.end(use)
            return job.finish(outputs, infer_s)

        try:
            return await self._threads.run(context, whole)
        except asyncio.CancelledError:
            left = True
            raise

    async def close(self) -> None:
        """Wait for the jobs that are running."""
        await asyncio.to_thread(self._threads.close)


class _Use:
    started: float | None = None  # when the graph left the engine's queue; None while it waits there


class Streams:
    """Tells how long each graph ran, without its wait in the engine's queue, which is first in, first out."""

    def __init__(self, count: int) -> None:
        """Expect an engine that runs `count` graphs at the same time."""
        self._free = count
        self._queue: deque[_Use] = deque()
        self._lock = Lock()

    def begin(self) -> _Use:
        """Note that the engine gets a graph; `end` takes the result."""
        use = _Use()
        with self._lock:
            if self._free:
                self._free -= 1
                use.started = perf_counter()
            else:
                self._queue.append(use)
        return use

    def end(self, use: _Use) -> float:
        """Return for how many seconds the graph ran; its stream takes the next one in the queue."""
        now = perf_counter()
        with self._lock:
            if use.started is None:  # it ended before those in front of it
                self._queue.remove(use)
                return 0.0
            if self._queue:
                self._queue.popleft().started = now
            else:
                self._free += 1
        return now - use.started
