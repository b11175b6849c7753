"""Define the parameters of a request, before and after defaults are filled in, and its context."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Literal, Self

from service.errors import DeadlineExceeded
from service.timeline import Step, trace_id_of

Number = int | float
MaskForm = Literal["rle", "polygon", "off"]
Priority = Literal["high", "normal", "low"]
Quality = Literal["auto", "high"]
Explain = Literal["off", "route"]


@dataclass(frozen=True, kw_only=True)
class DetectParams:
    """The parameters of a request as the request states them, before defaults replace the missing ones."""

    model: str | None = None
    backend: str = "auto"
    version: str | None = None
    classes: str | None = None  # names or ids, separated by commas
    bits: int | None = None  # that a file with 16 bits per value holds
    values: Mapping[str, Number] = field(default_factory=dict)  # parameters of the task, such as conf
    class_conf: Mapping[str, float] = field(default_factory=dict)  # conf for single classes, by name or id
    agnostic_nms: bool | None = None
    masks: MaskForm | None = None
    quality: Quality = "auto"
    explain: Explain = "off"  # route: explain which regions of the image moved the routers
    controls: Mapping[str, Number | str] = field(default_factory=dict)  # values for controls, by name


@dataclass(frozen=True, kw_only=True)
class ResolvedParams:
    """The parameters of a request after the model's defaults have replaced missing parameters."""

    values: Mapping[str, Number]  # a value for each parameter of the task
    class_ids: frozenset[int] | None  # None for all classes
    class_conf: Mapping[int, float]  # by id; values["conf"] is for all other classes
    agnostic_nms: bool  # whether boxes also suppress boxes of other classes
    controls: Mapping[str, Number]  # a value for each control of the graph
    masks: MaskForm = "rle"  # how an answer reports the masks of a segmenter
    bits: int | None = None  # used in a file with 16 bits per value; None: the service's setting


@dataclass(eq=False)
class Tally:
    """A number of images that grows while a request is served."""

    images: int = 0


@dataclass(frozen=True, kw_only=True)
class RequestContext:
    """Id, deadline, trace and caller of a request."""

    request_id: str
    allowed_s: float
    deadline: float  # on the clock of time.perf_counter
    own_limit: bool = True  # False: the caller chose a shorter time limit than the service's own
    priority: Priority = "normal"
    # W3C trace context for other servers: as the caller sent it, or with tracing, that of the request's span.
    traceparent: str | None = None
    tracestate: str | None = None
    step: Step | None = None  # to which the steps of this request are added; None if it is not traced
    caller: str | None = None  # address of the caller; None if the transport does not know it
    may_keep: bool = True  # whether the image may be kept for labelling, if the service does this
    explained: Tally = field(default_factory=Tally)  # runs for an explanation, also for one that failed

    @classmethod
    def within(
        cls,
        allowed_s: float,
        request_id: str = "",
        *,
        own_limit: bool = True,
        priority: Priority = "normal",
        traceparent: str | None = None,
        tracestate: str | None = None,
        step: Step | None = None,
        caller: str | None = None,
        may_keep: bool = True,
    ) -> Self:
        """Return a context whose deadline is `allowed_s` seconds from now."""
        return cls(
            request_id=request_id,
            allowed_s=allowed_s,
            deadline=perf_counter() + allowed_s,
            own_limit=own_limit,
            priority=priority,
            traceparent=traceparent,
            tracestate=tracestate,
            step=step,
            caller=caller,
            may_keep=may_keep,
        )

    @property
    def trace_id(self) -> str | None:
        """Return the id of this request's trace; None if the request is not traced."""
        traced = self.step is not None and self.traceparent is not None
        return trace_id_of(self.traceparent) if traced and self.traceparent else None

    def inside(self, step: Step | None) -> Self:
        """Return this context for the work in a step: the steps of this work are added to `step`."""
        return self if step is None else replace(self, step=step)

    def left_s(self) -> float:
        """Return the seconds until the deadline, always more than 0.

        Raises:
            DeadlineExceeded: the deadline has passed, so no more work may be started.
        """
        left_s = self.deadline - perf_counter()
        if left_s <= 0:
            raise DeadlineExceeded(self.allowed_s)
        return left_s

    @asynccontextmanager
    async def in_time(self) -> AsyncIterator[None]:
        """Run the block, and cancel it at the deadline.

        Raises:
            DeadlineExceeded: the block did not end by the deadline.
        """
        try:
            async with asyncio.timeout(self.left_s()):
                yield
        except TimeoutError as error:
            raise DeadlineExceeded(self.allowed_s) from error
