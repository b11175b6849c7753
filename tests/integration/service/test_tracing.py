"""A request to the real service arrives at a collector as a tree of spans."""

import json
import logging
import threading
import time
from itertools import pairwise

import pytest

from service.logs import line_formatter
from tests.builders import golden_image, image_bytes
from tests.integration.service.conftest import serve, wait_until_ready
from tests.path_artifacts import build_paths
from tests.tracing.receiver import receive_spans
from tests.tracing.tree import children

RED = image_bytes(golden_image())
DAMAGED = b"\x89PNG\r\n\x1a\n" + bytes(200)
TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
STAGES = ["queue", "decode", "preprocess", "infer", "postprocess"]


@pytest.fixture
def receiver(monkeypatch):
    with receive_spans() as running:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", running.endpoint)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield running


@pytest.fixture
def traced(receiver, start, repository):
    return start(repository=repository, tracing=True)


def spans_of(receiver, answer):
    """Return the spans of an answered request by name, and the spans whose parent is not among them."""
    trace_id = answer.headers["traceparent"].split("-")[1]
    spans = receiver.wait_for(trace_id, lambda found: any(span.kind == "SERVER" for span in found))
    (root,) = [span for span in spans if span.kind == "SERVER"]
    return spans, root


def only(spans, name):
    (span,) = [span for span in spans if span.name == name]
    return span


def test_each_stage_of_an_image_is_a_span_under_its_request(receiver, traced):
    answer = traced.client.post("/detect", params={"top_k": 1}, content=RED)
    spans, root = spans_of(receiver, answer)
    assert (root.name, root.parent_id, root.status) == ("POST /detect", "", "UNSET")
    assert root.resource["service.name"] == "sparsight"
    assert root.facts["sparsight.request_id"] == answer.headers["x-request-id"]
    assert [span.name for span in children(spans, root.span_id)] == ["receive", "detect", "write"]
    (attempt,) = children(spans, only(spans, "detect").span_id)
    stages = list(dict.fromkeys(span.name for span in children(spans, attempt.span_id)))
    assert stages == STAGES
    inside = children(spans, attempt.span_id)
    assert all(
        one.ended_ns <= other.began_ns + 1000 for one, other in pairwise(inside)
    )  # one after the other
    for span in spans:
        assert root.began_ns <= span.began_ns <= span.ended_ns <= root.ended_ns + 1000, span.name
        assert (span.status, span.facts.get("error.type")) == ("UNSET", None)


def test_the_choice_of_a_path_is_a_span_before_the_graph(receiver, start, tmp_path):
    running = start(repository=build_paths(tmp_path).repository, tracing=True)
    answer = running.client.post("/detect", content=RED)
    spans, _ = spans_of(receiver, answer)
    (attempt,) = children(spans, only(spans, "detect").span_id)
    stages = [span.name for span in children(spans, attempt.span_id) if span.name != "queue"]
    assert stages == ["decode", "preprocess", "router", "infer", "postprocess"]
    told = answer.json()["timing_ms"]
    assert only(spans, "router").duration_ms == pytest.approx(told["router"], abs=0.5)
    assert only(spans, "infer").duration_ms == pytest.approx(told["infer"], abs=0.5)


def test_the_span_of_an_image_says_what_its_answer_says(receiver, traced):
    answer = traced.client.post("/detect", params={"top_k": 1}, content=RED)
    told, facts = answer.json(), only(spans_of(receiver, answer)[0], "detect").facts
    assert {name.removeprefix("sparsight."): facts[name] for name in facts} == {
        "model": "tiny",
        "version": "1",
        "backend": "openvino",
        "task": "detect",
        "precision": told["model"]["precision"],
        "image.width": 64,
        "image.height": 64,
        "image.bytes": len(RED),
        "detections": 1,
        "degraded": False,
        "routing": "normal",
        "gflops.used": told["moe"]["gflops"]["used"],
        "gflops.dense": told["moe"]["gflops"]["dense"],
        "top_k": 1,
        "weight_threshold": 0.0,
        **{f"experts.{row['layer']}": ",".join(map(str, row["active"])) for row in told["moe"]["layers"]},
    }


def test_the_times_of_the_stages_are_those_of_the_answer(receiver, traced):
    stages, apart = ("decode", "preprocess", "infer", "postprocess"), {}
    for _ in range(5):  # the system may stop the thread between the two clocks of a stage, but not every time
        answer = traced.client.post("/detect", content=RED)
        told = answer.json()["timing_ms"]
        spans, _ = spans_of(receiver, answer)
        for stage in stages:
            apart.setdefault(stage, []).append(abs(only(spans, stage).duration_ms - told[stage]))
    assert {stage: min(times) for stage, times in apart.items()} == pytest.approx(
        dict.fromkeys(stages, 0.0), abs=0.5
    )


def test_the_trace_of_the_caller_goes_on(receiver, traced):
    sent = {"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01"}
    answer = traced.client.post("/detect", content=RED, headers=sent)
    _, root = spans_of(receiver, answer)
    assert (root.trace_id, root.parent_id) == (TRACE_ID, PARENT_ID)
    assert answer.headers["traceparent"] == f"00-{TRACE_ID}-{root.span_id}-01"


def test_a_passed_deadline_is_an_error_of_every_span_that_it_ended(receiver, traced):
    answer = traced.client.post("/detect", params={"timeout_ms": 1}, content=RED)
    assert answer.status_code == 504
    spans, root = spans_of(receiver, answer)
    assert (root.status, root.facts["error.type"]) == ("ERROR", "deadline-exceeded")
    assert root.facts["http.response.status_code"] == 504
    for name in ("detect", "attempt"):
        span = only(spans, name)
        assert (span.status, span.facts["error.type"]) == ("ERROR", "deadline-exceeded")
        ((event, told),) = span.events
        assert (event, told["exception.type"]) == ("exception", "DeadlineExceeded")


def test_an_image_that_cannot_be_decoded_shows_where_it_failed(receiver, traced):
    answer = traced.client.post("/detect", content=DAMAGED)
    assert answer.status_code == 422
    spans, root = spans_of(receiver, answer)
    assert (root.status, root.facts["error.type"]) == ("UNSET", "undecodable-image")
    decode = only(spans, "decode")
    assert (decode.status, decode.facts["error.type"]) == ("ERROR", "undecodable-image")
    assert not [span for span in spans if span.name == "infer"]


def test_a_request_that_is_refused_at_the_door_is_one_span(receiver, start, repository):
    running = start(repository=repository, tracing=True, max_inflight=1)
    arrived = threading.Event()

    def slow_body():
        yield RED[:10]
        assert arrived.wait(20)
        yield RED[10:]

    sending = threading.Thread(target=lambda: running.client.post("/detect", content=slow_body()))
    sending.start()
    end = time.monotonic() + 20
    while running.metrics()["sparsight_inflight_requests"] < 2:  # that request, and this one
        assert time.monotonic() < end
    answer = running.client.post("/detect", content=RED)
    arrived.set()
    sending.join()
    assert answer.status_code == 429
    spans, root = spans_of(receiver, answer)
    assert spans == [root]
    assert (root.name, root.status, root.facts["error.type"]) == ("POST /detect", "UNSET", "overloaded")
    assert root.facts["http.response.status_code"] == 429


def test_each_image_of_a_form_has_a_span_of_its_own(receiver, traced):
    files = [("image", ("alice.png", RED)), ("image", ("2", b"no image"))]
    answer = traced.client.post("/detect", files=files)
    spans, root = spans_of(receiver, answer)
    detects = [span for span in children(spans, root.span_id) if span.name == "detect"]
    assert [span.status for span in detects] == ["UNSET", "ERROR"]
    assert detects[1].facts["error.type"] == "unsupported-image"
    assert root.status == "UNSET"


def test_nothing_that_a_caller_sent_is_in_the_spans(receiver, traced):
    secrets = ("alice", "s3cret", "10.1.2.3")
    headers = {"Authorization": "Bearer s3cret", "X-Api-Key": "s3cret", "X-Forwarded-For": "10.1.2.3"}
    for query in ({"classes": "red"}, {"alice": "1"}, {"conf": "alice"}, {"model": "alice"}):
        files = {"image": ("alice.png", RED)}
        answer = traced.client.post(
            "/detect", params=query, files=files, headers={"User-Agent": "alice", **headers}
        )
        told = json.dumps([[span.name, span.status_text, span.facts, span.events] for span in
                           spans_of(receiver, answer)[0]])  # fmt: skip
        assert not [secret for secret in secrets if secret in told], told
    answer = traced.client.get("/alice", headers=headers)
    _, root = spans_of(receiver, answer)
    assert (root.name, root.facts.get("http.route")) == ("GET", None)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_probes_and_scrapes_have_no_trace(traced, path):
    assert "traceparent" not in traced.client.get(path).headers


def test_without_tracing_the_header_of_the_caller_is_not_answered(served):
    answer = served.client.post(
        "/detect", content=RED, headers={"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01"}
    )
    assert "traceparent" not in answer.headers


def test_the_spans_that_wait_are_sent_at_the_end(receiver, repository, monkeypatch):
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "600000")
    with serve(repository=repository, tracing=True) as running:
        assert wait_until_ready(running).status_code == 200
        answer = running.client.post("/detect", content=RED)
        trace_id = answer.headers["traceparent"].split("-")[1]
        assert receiver.of(trace_id) == []
    assert receiver.of(trace_id)


def test_without_a_collector_requests_are_answered_and_the_end_is_not_held_up(repository, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    with serve(repository=repository, tracing=True) as running:
        assert wait_until_ready(running).status_code == 200
        assert running.detect(RED).status_code == 200
        time.sleep(0.3)
        assert running.detect(RED).status_code == 200
        ending = time.monotonic()
    assert time.monotonic() - ending < 8


def test_the_line_of_a_request_names_its_trace(traced, caplog):
    answer = traced.client.post("/detect", content=RED)
    (line,) = [
        one for one in caplog.records if one.getMessage() == "request_answered" and one.route == "/detect"
    ]
    assert f"00-{line.trace_id}-{line.span_id}" == answer.headers["traceparent"][:-3]


def test_other_lines_of_a_request_name_its_trace_too(receiver, start, repository):
    running = start(repository=repository, tracing=True, admin_token="a" * 16)
    lines = []

    class Keep(logging.Handler):
        def emit(self, record):
            lines.append(json.loads(line_formatter("json").format(record)))

    handler = Keep()
    logging.getLogger("service").addHandler(handler)
    try:
        answer = running.client.post("/models/reload", headers={"Authorization": "Bearer " + "a" * 16})
    finally:
        logging.getLogger("service").removeHandler(handler)
    assert answer.status_code == 200
    (line,) = [line for line in lines if line["event"] == "models_reloaded"]
    assert line["id"] == answer.headers["x-request-id"]
    assert line["trace_id"] == answer.headers["traceparent"].split("-")[1]
