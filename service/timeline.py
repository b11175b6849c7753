"""Note the steps of a request while it is served, so that spans can be made of them afterwards.

This module does not import OpenTelemetry, because most services run without it. If a request is not traced,
it has no steps, and `begin` returns a context that does nothing.
"""

from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from secrets import token_hex
from time import perf_counter
from types import TracebackType
from typing import Any, Protocol, Self

Fact = str | bool | int | float
"""The value of a span's attribute."""

_NOTHING: AbstractContextManager[None] = nullcontext()
_TRACE_ID, _SPAN_ID = slice(3, 35), slice(36, 52)  # in a traceparent: 00-<trace id>-<span id>-<flags>


@dataclass(eq=False)
class Step:
    """One step of a request: a stage, an attempt on a backend, or the whole request.

    As a context manager, the step ends with its block, and keeps the error that ended the block. Steps may be
    added from several threads.
    """

    name: str
    began: float = field(default_factory=perf_counter)
    ended: float | None = None  # None: it still runs
    error: BaseException | None = None
    facts: dict[str, Fact] = field(default_factory=dict)  # attributes of the span, by their full names
    steps: list["Step"] = field(default_factory=list)
    span_id: str = ""  # chosen only if another server must know it; then the step is a call to that server

    def add(self, name: str, began: float, ended: float) -> None:
        """Add a step that has ended; times are of `perf_counter`."""
        self.steps.append(Step(name, began, ended))

    def last(self, name: str) -> "Step | None":
        """Return the newest step inside this one that has this name; None if there is none."""
        return next((step for step in reversed(self.steps) if step.name == name), None)

    def begin(self, name: str, facts: Mapping[str, Fact] | None = None) -> "Step":
        """Return a new step inside this one; use it in a `with` statement."""
        step = Step(name, facts=dict(facts or {}))
        self.steps.append(step)
        return step

    def call(self, traceparent: str) -> str:
        """Make this step a call to another server; return the header `traceparent` for that server.

        `traceparent` is the header of the whole request.
        """
        self.span_id = token_hex(8)
        return traceparent[: _SPAN_ID.start] + self.span_id + traceparent[_SPAN_ID.stop :]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.ended, self.error = perf_counter(), error


def begin(
    parent: Step | None, name: str, facts: Mapping[str, Fact] | None = None
) -> AbstractContextManager[Step | None]:
    """Return a new step inside `parent`, for `with`; if `parent` is None, a context that does nothing."""
    return _NOTHING if parent is None else parent.begin(name, facts)


@dataclass(eq=False)
class Trace:
    """The trace to which a request belongs."""

    traceparent: str  # W3C header that names the span of this request
    tracestate: str | None
    root: Step | None  # the whole request; None if its spans are not wanted
    error: BaseException | None = None  # why the request was not answered

    @property
    def trace_id(self) -> str:
        """Return the id of the trace, 32 hexadecimal digits."""
        return trace_id_of(self.traceparent)

    @property
    def span_id(self) -> str:
        """Return the id of this request's span, 16 hexadecimal digits."""
        return self.traceparent[_SPAN_ID]


def trace_id_of(traceparent: str) -> str:
    """Return the trace id in a W3C header `traceparent`."""
    return traceparent[_TRACE_ID]


@dataclass(frozen=True)
class Answer:
    """What a span tells about the answer to a request."""

    method: str
    route: str | None  # path with placeholders; None if there is no such route
    code: int
    request_id: str


class Tracer(Protocol):
    """Makes the spans of requests. All methods must be called from the event loop, except `close`."""

    def begin(self, method: str, headers: Sequence[tuple[bytes, bytes]]) -> Trace:
        """Return the trace of a request with these headers; the names of headers are in lower case."""
        ...

    def end(self, trace: Trace, answer: Answer) -> None:
        """Send the spans of an answered request."""
        ...

    def close(self) -> None:
        """Send the spans that still wait; this may take seconds."""
        ...


def trace_of(state: Mapping[str, Any]) -> Trace | None:
    """Return the trace of a request from the state of its ASGI scope; None if it is not traced."""
    trace = state.get("trace")
    assert trace is None or isinstance(trace, Trace)
    return trace


def note_error(state: MutableMapping[str, Any], error: BaseException) -> None:
    """Note in a request's trace, if it has one, the error with which the request is answered."""
    trace = trace_of(state)
    if trace is not None:
        trace.error = error
