"""Callers that send images at random moments, until they are told to stop, and that never try again."""

import asyncio
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Self

import httpx

ANSWER_S = 20.0


@dataclass
class Traffic:
    """An open loop: images arrive whether or not earlier ones were answered."""

    url: str
    image: bytes
    rate: float
    statuses: Counter[str] = field(default_factory=Counter)  # an error counts under its name
    latencies_ms: list[float] = field(default_factory=list)  # of answers with 200
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Send no more images, and wait for the answers to those that were sent."""
        self._stop.set()
        assert self._thread is not None
        self._thread.join()

    @property
    def sent(self) -> int:
        """Return the number of images that were sent and answered, or failed."""
        return self.statuses.total()

    @property
    def failed(self) -> int:
        """Return how many of them were not answered with 200."""
        return self.sent - self.statuses["200"]

    async def _run(self) -> None:
        chance, running = random.Random(0), set()
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(timeout=ANSWER_S, trust_env=False, limits=limits) as client:
            due = time.monotonic()
            while not self._stop.is_set():
                due += chance.expovariate(self.rate)
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                task = asyncio.create_task(self._send(client))
                running.add(task)
                task.add_done_callback(running.discard)
            await asyncio.gather(*running)

    async def _send(self, client: httpx.AsyncClient) -> None:
        began = time.monotonic()
        try:
            answer = await client.post(self.url, content=self.image)
        except httpx.TransportError as error:
            self.statuses[type(error).__name__] += 1
            return
        self.statuses[str(answer.status_code)] += 1
        if answer.status_code == httpx.codes.OK:
            self.latencies_ms.append((time.monotonic() - began) * 1000)
