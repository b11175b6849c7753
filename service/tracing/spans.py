"""Make the spans of a request from its steps, with the attributes of OpenTelemetry's conventions.

The names of attributes and the rules for the status follow the conventions for HTTP servers and for RPC:
https://opentelemetry.io/docs/specs/semconv/. The spans hold no text that a caller sent, except the request id
that it may have chosen: no query, no file name, no address, no key.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter, time_ns

from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service import __version__
from service.errors import (
    BACKEND_ERRORS,
    DeadlineExceeded,
    Overloaded,
    RouteTooSlow,
    ServiceError,
    slug_of,
)
from service.timeline import Answer, Fact, Step, Trace

_METHODS = {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"}
_TRACE_HEADERS = {b"traceparent": "traceparent", b"tracestate": "tracestate"}
# The texts of these errors are the service's and its backends' own. Those of others may repeat a parameter.
_TOLD = (*BACKEND_ERRORS, DeadlineExceeded, Overloaded, RouteTooSlow)
_PROPAGATOR = TraceContextTextMapPropagator()
_REPEATING = ("opentelemetry.trace.span", "opentelemetry.trace.propagation.tracecontext")


class GivenIds(RandomIdGenerator):
    """Random ids for spans, except for a span id that has already been sent to another server."""

    def __init__(self) -> None:
        """Begin with random ids."""
        self.next_span_id = ""  # 16 hexadecimal digits; empty: a random id

    def generate_span_id(self) -> int:
        """Return the given id once, then random ids again."""
        given, self.next_span_id = self.next_span_id, ""
        return int(given, 16) if given else super().generate_span_id()


@dataclass(eq=False)
class _Spanned(Trace):
    span: Span | None = None  # of the request
    epoch_ns: int = 0  # what to add to a time of perf_counter, in nanoseconds, for the time since 1970

    def at_ns(self, time_s: float) -> int:
        """Return a time of perf_counter in nanoseconds since 1970."""
        return self.epoch_ns + int(time_s * 1e9)


class SpanTracer:
    """Begins a span for each request, and adds a span for each of its steps when it has been answered."""

    def __init__(
        self, provider: TracerProvider, ids: GivenIds, scheme: str, close: Callable[[], None] = lambda: None
    ) -> None:
        """Make spans with a provider.

        Args:
            provider: makes the spans; it takes its ids from `ids`.
            ids: the ids of the provider's spans.
            scheme: scheme of the requests, http or https.
            close: sends the spans that still wait.
        """
        self._close = close
        for name in _REPEATING:  # they warn of each bad header of a caller, and repeat its text
            logging.getLogger(name).setLevel(logging.ERROR)
        self._tracer = provider.get_tracer("sparsight", __version__)
        self._ids = ids
        self._scheme = scheme

    def begin(self, method: str, headers: Sequence[tuple[bytes, bytes]]) -> Trace:
        """Return the trace of a request; the sampler decides whether its steps are noted."""
        carrier: dict[str, str] = {}
        for name, value in headers:
            if name in _TRACE_HEADERS:
                key, text = _TRACE_HEADERS[name], value.decode("latin-1")
                carrier[key] = f"{carrier[key]},{text}" if key in carrier else text
        parent = _PROPAGATOR.extract(carrier, Context()) if carrier else Context()
        began, now_ns = perf_counter(), time_ns()
        kind = method if method in _METHODS else "HTTP"
        span = self._tracer.start_span(kind, parent, SpanKind.SERVER, start_time=now_ns)
        context = span.get_span_context()
        flags = int(context.trace_flags)
        return _Spanned(
            traceparent=f"00-{context.trace_id:032x}-{context.span_id:016x}-{flags:02x}",
            tracestate=context.trace_state.to_header() or None,
            root=Step("request", began) if span.is_recording() else None,
            span=span,
            epoch_ns=now_ns - int(began * 1e9),
        )

    def end(self, trace: Trace, answer: Answer) -> None:
        """End the span of a request, and make the spans of its steps."""
        assert isinstance(trace, _Spanned)
        assert trace.span is not None
        if trace.root is None:
            return
        now = perf_counter()
        span, method = trace.span, answer.method if answer.method in _METHODS else "_OTHER"
        facts: dict[str, Fact] = {
            "http.request.method": method,
            "http.response.status_code": answer.code,
            "url.scheme": self._scheme,
            "sparsight.request_id": answer.request_id,
        }
        if answer.route is not None:
            facts["http.route"] = answer.route
            span.update_name(f"{method} {answer.route}")
        if answer.code >= 400:
            facts["error.type"] = str(answer.code) if trace.error is None else _type_of(trace.error)
        if (
            answer.code >= 500
        ):  # by convention, a 4xx is the caller's error, and no error of the server's span
            span.set_status(Status(StatusCode.ERROR, _text_of(trace.error)))
        span.set_attributes(facts)
        self._write(trace.root.steps, span, trace, now)
        span.end(trace.at_ns(now))

    def close(self) -> None:
        """Send the spans that still wait, and stop."""
        self._close()

    def _write(self, steps: Sequence[Step], parent: Span, trace: _Spanned, now: float) -> None:
        context = set_span_in_context(parent, Context())
        for step in tuple(steps):  # a thread that was given up may still add steps
            ended = step.ended
            facts: Mapping[str, Fact] = step.facts
            if ended is None:  # the request was answered without it
                ended, facts = now, {**facts, "sparsight.unfinished": True}
            self._ids.next_span_id = step.span_id
            span = self._tracer.start_span(
                step.name,
                context,
                SpanKind.CLIENT if step.span_id else SpanKind.INTERNAL,
                facts,
                start_time=trace.at_ns(step.began),
            )
            if step.error is not None:
                _note(step.error, span, trace.at_ns(ended))
            self._write(step.steps, span, trace, now)
            span.end(trace.at_ns(ended))


def _note(error: BaseException, span: Span, at_ns: int) -> None:
    text = _text_of(error)
    event = {"exception.type": type(error).__qualname__} | ({"exception.message": text} if text else {})
    span.add_event("exception", event, at_ns)
    span.set_attribute("error.type", _type_of(error))
    span.set_status(Status(StatusCode.ERROR, text))


def _type_of(error: BaseException) -> str:
    return slug_of(type(error)) if isinstance(error, ServiceError) else type(error).__qualname__


def _text_of(error: BaseException | None) -> str | None:
    return str(error) if isinstance(error, _TOLD) else None
