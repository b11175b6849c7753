"""Run a graph in this process: a whole job in one thread."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping
from threading import Semaphore
from time import perf_counter
from typing import Any, TypeVar

from numpy.typing import NDArray

from service.backends.protocol import Job
from service.backends.threads import Threads
from service.request import RequestContext
from service.types import RawOutputs

T = TypeVar("T")


class InProcessBackend(ABC):
    """Runs up to `workers` graphs at once, while one more image is prepared.

    A job stays in its thread from the file to the predictions. On a busy machine, each change of thread would
    wait for the interpreter, and the engine would wait for the next image.
    """

    def __init__(self, workers: int, name: str) -> None:
        """Prepare the threads; `name` is the prefix of their names."""
        self._threads = Threads(workers + 1, name)
        self._room = Semaphore(workers)

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
                began = perf_counter()
                outputs = self.compute(inputs)
                infer_s = perf_counter() - began
            return job.finish(outputs, infer_s)

        try:
            return await self._threads.run(context, whole)
        except asyncio.CancelledError:
            left = True
            raise

    async def close(self) -> None:
        """Wait for the jobs that are running."""
        await asyncio.to_thread(self._threads.close)
