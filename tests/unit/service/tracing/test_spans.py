"""A request's steps become spans as OpenTelemetry's conventions ask."""

import logging

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, StatusCode

from service.errors import BackendUnavailable, DeadlineExceeded, InvalidParameter, Overloaded
from service.timeline import Answer
from service.tracing.spans import GivenIds, SpanTracer

TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SENT = [(b"traceparent", f"00-{TRACE_ID}-{PARENT_ID}-01".encode()), (b"tracestate", b"vendor=1")]
OK = Answer("POST", "/detect", 200, "r1")


class Traced:
    """A tracer, and the spans that it has sent."""

    def __init__(self, sampler=None):
        ids, self._exporter = GivenIds(), InMemorySpanExporter()
        provider = TracerProvider(sampler=sampler, id_generator=ids, shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = SpanTracer(provider, ids, "http")

    def spans(self):
        return {span.name: span for span in self._exporter.get_finished_spans()}


@pytest.fixture
def traced():
    return Traced()


def request(traced, answer=OK, headers=(), error=None):
    trace = traced.tracer.begin(answer.method, headers)
    trace.error = error
    traced.tracer.end(trace, answer)
    (span,) = traced.spans().values()
    return trace, span


def test_a_request_continues_the_trace_of_its_caller(traced):
    trace, span = request(traced, headers=SENT)
    assert trace.trace_id == TRACE_ID == f"{span.context.trace_id:032x}"
    assert f"{span.parent.span_id:016x}" == PARENT_ID
    assert trace.traceparent == f"00-{TRACE_ID}-{span.context.span_id:016x}-01"
    assert trace.tracestate == "vendor=1"


@pytest.mark.parametrize("sent", [b"00-nonsense", b"00-" + b"0" * 32 + b"-" + b"1" * 16 + b"-01", b""])
def test_a_header_that_is_no_traceparent_begins_a_new_trace(traced, sent):
    _, span = request(traced, headers=[(b"traceparent", sent)])
    assert span.parent is None


@pytest.mark.parametrize("state", [b"my secret", b"a=1," * 5000])
def test_the_log_repeats_no_header_of_a_caller(traced, caplog, state):
    with caplog.at_level(logging.INFO):
        trace, _ = request(traced, headers=[SENT[0], (b"tracestate", state)])
    assert trace.trace_id == TRACE_ID
    assert not caplog.records


def test_the_span_of_a_request_has_the_attributes_of_an_http_server(traced):
    _, span = request(traced)
    assert (span.name, span.kind, span.status.status_code) == (
        "POST /detect",
        SpanKind.SERVER,
        StatusCode.UNSET,
    )
    assert dict(span.attributes) == {
        "http.request.method": "POST",
        "http.route": "/detect",
        "http.response.status_code": 200,
        "url.scheme": "http",
        "sparsight.request_id": "r1",
    }


def test_a_path_and_a_method_that_a_caller_made_up_are_not_in_the_span(traced):
    _, span = request(traced, Answer("PURGE-alice", None, 404, "r1"))
    assert (span.name, span.attributes["http.request.method"]) == ("HTTP", "_OTHER")
    assert "http.route" not in span.attributes


@pytest.mark.parametrize(
    ("code", "error", "status", "kind", "text"),
    [
        (399, None, StatusCode.UNSET, None, None),
        (400, None, StatusCode.UNSET, "400", None),
        (422, InvalidParameter("conf", "alice is no number"), StatusCode.UNSET, "invalid-parameter", None),
        (429, Overloaded("the queue is full"), StatusCode.UNSET, "overloaded", None),
        (499, None, StatusCode.UNSET, "499", None),
        (500, ValueError("alice.jpg"), StatusCode.ERROR, "ValueError", None),
        (503, BackendUnavailable("gone"), StatusCode.ERROR, "backend-unavailable", "gone"),
    ],
)
def test_only_what_the_service_could_not_do_is_an_error_of_its_span(traced, code, error, status, kind, text):
    _, span = request(traced, Answer("POST", "/detect", code, "r1"), error=error)
    assert (span.status.status_code, span.status.description) == (status, text)
    assert span.attributes.get("error.type") == kind


def test_steps_become_spans_inside_one_another_with_their_own_times(traced):
    trace = traced.tracer.begin("POST", ())
    with trace.root.begin("detect") as detect:
        detect.add("decode", detect.began + 0.001, detect.began + 0.003)
    traced.tracer.end(trace, OK)
    spans = traced.spans()
    assert spans["detect"].parent.span_id == spans["POST /detect"].context.span_id
    assert spans["decode"].parent.span_id == spans["detect"].context.span_id
    assert spans["decode"].end_time - spans["decode"].start_time == pytest.approx(2e6, abs=1000)
    assert spans["decode"].start_time - spans["detect"].start_time == pytest.approx(1e6, abs=1000)
    assert spans["decode"].kind is SpanKind.INTERNAL


def test_a_call_has_the_span_id_that_the_other_server_was_told(traced):
    trace = traced.tracer.begin("POST", ())
    with trace.root.begin("call") as call:
        told = call.call(trace.traceparent).split("-")[2]
        with call.begin("inner"):
            pass
    traced.tracer.end(trace, OK)
    spans = traced.spans()
    assert f"{spans['call'].context.span_id:016x}" == told
    assert spans["call"].kind is SpanKind.CLIENT
    assert spans["inner"].context.span_id != spans["call"].context.span_id


def test_a_step_that_failed_says_how(traced):
    trace = traced.tracer.begin("POST", ())
    with pytest.raises(DeadlineExceeded), trace.root.begin("attempt"):
        raise DeadlineExceeded(0.5)
    with pytest.raises(ValueError, match="alice"), trace.root.begin("decode"):
        raise ValueError("alice.jpg")
    traced.tracer.end(trace, Answer("POST", "/detect", 504, "r1"))
    attempt, decode = traced.spans()["attempt"], traced.spans()["decode"]
    assert (attempt.status.status_code, attempt.status.description) == (
        StatusCode.ERROR,
        str(DeadlineExceeded(0.5)),
    )
    assert attempt.attributes["error.type"] == "deadline-exceeded"
    (event,) = attempt.events
    assert (event.name, event.attributes["exception.type"]) == ("exception", "DeadlineExceeded")
    assert decode.status.status_code is StatusCode.ERROR
    assert "alice" not in decode.to_json()  # the text of another error may repeat what a caller sent


def test_a_step_that_still_runs_when_the_answer_is_sent_ends_with_it(traced):
    trace = traced.tracer.begin("POST", ())
    trace.root.begin("infer")
    traced.tracer.end(trace, OK)
    spans = traced.spans()
    assert spans["infer"].attributes["sparsight.unfinished"] is True
    assert spans["infer"].end_time == spans["POST /detect"].end_time


def test_a_trace_that_is_not_sampled_has_ids_and_no_spans():
    traced = Traced(ALWAYS_OFF)
    trace = traced.tracer.begin("POST", ())
    traced.tracer.end(trace, OK)
    assert trace.root is None
    assert int(trace.traceparent[-2:], 16) & 1 == 0
    assert trace.trace_id != "0" * 32
    assert traced.spans() == {}


def test_the_caller_s_decision_counts_unless_the_sampler_decides_alone():
    trace = Traced(ParentBased(ALWAYS_OFF)).tracer.begin("POST", SENT)
    assert trace.root is not None
    assert Traced(TraceIdRatioBased(0)).tracer.begin("POST", SENT).root is None
