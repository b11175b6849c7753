"""One request: as it was asked, as it is run, and on whose behalf."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Self

from service.errors import DeadlineExceeded

Number = int | float


@dataclass(frozen=True, kw_only=True)
class DetectParams:
    """What a request asks for; what is missing or None is left to the service and to the model."""

    model: str | None = None
    backend: str = "auto"
    version: str | None = None
    classes: str | None = None  # names or ids, separated by commas
    values: Mapping[str, Number] = field(default_factory=dict)  # of the task, such as conf
    controls: Mapping[str, Number | str] = field(default_factory=dict)  # by name of the graph's input


@dataclass(frozen=True, kw_only=True)
class ResolvedParams:
    """What will be done for one image: the parameters of a request, the model's defaults filled in."""

    values: Mapping[str, Number]  # one for each default of the task
    class_ids: frozenset[int] | None  # None: all
    controls: Mapping[str, Number]  # one for each control of the graph


@dataclass(frozen=True, kw_only=True)
class RequestContext:
    """On whose behalf a graph is run, and until when."""

    request_id: str
    allowed_s: float
    deadline: float  # by time.perf_counter
    own_limit: bool = True  # the time is what this service allows, not a shorter one that the caller chose
    traceparent: str | None = None  # W3C trace context, as the caller sent it
    caller: str | None = None  # as far as the transport knows

    @classmethod
    def within(
        cls,
        allowed_s: float,
        request_id: str = "",
        *,
        own_limit: bool = True,
        traceparent: str | None = None,
        caller: str | None = None,
    ) -> Self:
        """Return a context whose time begins now."""
        return cls(
            request_id=request_id,
            allowed_s=allowed_s,
            deadline=perf_counter() + allowed_s,
            own_limit=own_limit,
            traceparent=traceparent,
            caller=caller,
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
