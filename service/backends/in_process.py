"""Run graphs in this process; one thread does the whole job for an image."""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping
from threading import Lock, Semaphore
from time import perf_counter
from typing import Any, TypeVar

from numpy.typing import NDArray

from service.backends.protocol import Job, RouteTerms
from service.backends.threads import Threads
from service.request import RequestContext
from service.timeline import begin
from service.types import RawOutputs

AHEAD = 2
"""How many images a backend prepares ahead, in addition to the images whose graphs run.

So the engine can go on while the event loop answers one image and starts the next. With one image ahead,
streams of the engine were sometimes idle. A third image ahead gained nothing (`python -m tests.load.gateway
--before`).
"""

T = TypeVar("T")


class InProcessBackend(ABC):
    """The base of backends that run graphs for up to `workers` images at once, and prepare AHEAD more.

    A job stays in one thread from the image file to the predictions. On a busy machine, each change of thread
    would have to wait for Python's interpreter lock, and meanwhile the engine would have no image.
    """

    def __init__(self, name: str, *, workers: int, at_once: int, streams: int) -> None:
        """Prepare the threads.

        Args:
            name: prefix of the names of the threads.
            workers: number of graphs that shall run at the same time.
            at_once: maximum number of calls of `compute` at the same time; more than `streams` if the engine
                has a queue.
            streams: number of graphs that the engine really runs at the same time.
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

    def route(
        self, inputs: Mapping[str, NDArray[Any]], terms: RouteTerms | None, context: RequestContext
    ) -> Mapping[str, NDArray[Any]]:
        """Return the inputs, extended by what can be computed while the image still waits for its turn.

        Raises:
            RouteTooSlow: the graph would end after the deadline even if it ran at once.
        """
        return inputs

    def fit(
        self, inputs: Mapping[str, NDArray[Any]], terms: RouteTerms | None, context: RequestContext
    ) -> Mapping[str, NDArray[Any]]:
        """Return the inputs to run now, when the turn has come; they may be cheaper if little time is left.

        Raises:
            RouteTooSlow: the graph would end after the deadline.
        """
        return inputs

    async def run(self, job: Job[T], context: RequestContext) -> T:
        """Run a job in a thread, and return its result.

        Raises:
            DeadlineExceeded: the job did not end before the deadline; the graph does not start after it.
            RouteTooSlow: see `route` and `fit`.
            BackendFailed: see `compute`.
        """
        left = False  # whether nobody waits for the result any more

        def whole() -> T:
            inputs = self.route(job.prepare(), job.terms, context)
            with self._room:
                context.left_s()
                if left:
                    raise asyncio.CancelledError
                inputs = self.fit(inputs, job.terms, context)
                use = self._streams.begin()
                with begin(context.step, "infer") as step:
                    try:
                        outputs = self.compute(inputs)
                    finally:
                        infer_s = self._streams.end(use)
                        if step is not None:
                            step.began = perf_counter() - infer_s  # without the wait in the engine's queue
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
    """A measure of how long each graph ran, without its wait in the engine's first-in, first-out queue."""

    def __init__(self, count: int) -> None:
        """Expect an engine that runs `count` graphs at the same time."""
        self._free = count
        self._queue: deque[_Use] = deque()
        self._lock = Lock()

    def begin(self) -> _Use:
        """Record that the engine gets a graph; the caller passes the result to `end`."""
        use = _Use()
        with self._lock:
            if self._free:
                self._free -= 1
                use.started = perf_counter()
            else:
                self._queue.append(use)
        return use

    def end(self, use: _Use) -> float:
        """Return for how many seconds the graph ran; its stream then takes the next graph in the queue."""
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
