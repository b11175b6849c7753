"""The seam between the pipeline and whatever runs a graph."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from service.errors import DeadlineExceeded


@dataclass(frozen=True, kw_only=True)
class Call:
    """On whose behalf a graph is run, and until when."""

    request_id: str
    allowed_s: float
    deadline: float  # by time.perf_counter
    own_limit: bool = True  # the time is what this service allows, not a shorter one that the caller chose
    traceparent: str | None = None  # W3C trace context, as the caller sent it

    @classmethod
    def within(
        cls, allowed_s: float, request_id: str = "", *, own_limit: bool = True, traceparent: str | None = None
    ) -> Self:
        """Return a call that starts now."""
        return cls(
            request_id=request_id,
            allowed_s=allowed_s,
            deadline=perf_counter() + allowed_s,
            own_limit=own_limit,
            traceparent=traceparent,
        )

    def left_s(self) -> float:
        """Return how long there is to go.

        Raises:
            DeadlineExceeded: nothing is left; what has not been started must not be.
        """
        left_s = self.deadline - perf_counter()
        if left_s <= 0:
            raise DeadlineExceeded(self.allowed_s)
        return left_s

    @asynccontextmanager
    async def in_time(self) -> AsyncIterator[None]:
        """Cancel what is awaited inside at the deadline.

        Raises:
            DeadlineExceeded: it was not done by then.
        """
        try:
            async with asyncio.timeout(self.left_s()):
                yield
        except TimeoutError as error:
            raise DeadlineExceeded(self.allowed_s) from error


class Backend(Protocol):
    """Runs one version of one model. Used from the event loop; many calls may be under way at once."""

    async def infer(
        self, images: NDArray[np.uint8], top_k: int | None, weight_threshold: float | None, call: Call
    ) -> Mapping[str, NDArray[Any]]:
        """Run (B, H, W, 3) RGB; return the manifest's outputs by name.

        Cancelling the task ends the work if it can be ended, and never starts it if it has not begun.

        Args:
            images: letterboxed pixels.
            top_k: experts per image and layer; None where the graph has no such input.
            weight_threshold: softmax probability, 0..1; None where the graph has no such input.
            call: for whom, and until when.

        Raises:
            BackendBusy: too much is waiting already.
            BackendUnavailable: the model cannot be run here now.
            DeadlineExceeded: there was no answer in time.
            BackendFailed: the model rejected this input; retrying will not help.
        """
        ...

    async def close(self) -> None:
        """Free the model. Nothing may be inferred afterwards."""
        ...
