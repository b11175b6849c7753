"""The trace of a request goes through the gateway and a real Triton, also if Triton dies or is silent."""

import subprocess
import sys

import pytest

from tests.builders import golden_image, image_bytes
from tests.integration.triton.test_gateway import MODEL, gateway_to, write_version
from tests.tracing.__main__ import is_whole, traced_triton
from tests.tracing.receiver import receive_spans
from tests.tracing.tree import children
from tests.triton_server import ROOT

pytestmark = pytest.mark.heavy

RED = image_bytes(golden_image())
CALL = "inference.GRPCInferenceService/ModelInfer"


@pytest.fixture
def receiver(monkeypatch):
    with receive_spans() as running:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", running.endpoint)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield running


@pytest.fixture
def repository(tmp_path):
    write_version(tmp_path)
    return tmp_path


@pytest.fixture
def server(receiver, repository):
    with traced_triton(receiver, repository, "tiny") as running:
        yield running


def trace_id_of(answer):
    return answer.headers["traceparent"].split("-")[1]


def spans_of(receiver, answer):
    """Return the gateway's spans of an answered request, and the root."""
    spans = receiver.wait_for(trace_id_of(answer), lambda found: any(s.name == "POST /detect" for s in found))
    (root,) = [span for span in spans if span.name == "POST /detect"]
    return spans, root


def only(spans, name):
    (span,) = [span for span in spans if span.name == name]
    return span


def test_the_spans_of_triton_are_inside_the_gateway_s_call(receiver, server, repository):
    with gateway_to(server, repository=repository, tracing=True) as gateway:
        # tritonserver 2.51 sometimes begins a new trace, as if a call over gRPC had no traceparent.
        for _ in range(10):
            answer = gateway.client.post("/detect", content=RED)
            spans = receiver.wait_for(trace_id_of(answer), is_whole, limit_s=5)
            if is_whole(spans):
                break
    call = only(spans, CALL)
    (of_triton,) = children(spans, call.span_id)
    assert (of_triton.name, of_triton.resource["service.name"]) == (
        "InferRequest",
        "triton-inference-server",
    )
    (of_model,) = children(spans, of_triton.span_id)
    assert of_model.facts["triton.model_name"] == MODEL
    (compute,) = children(spans, of_model.span_id)
    assert compute.name == "compute"
    # Their ends are not compared: Triton sends the answer before it ends its spans.
    assert call.began_ns <= of_triton.began_ns <= of_model.began_ns <= compute.began_ns <= call.ended_ns


def test_the_call_to_triton_has_the_attributes_of_a_grpc_client(receiver, server, repository):
    with gateway_to(server, repository=repository, tracing=True) as gateway:
        answer = gateway.client.post("/detect", content=RED)
        spans, root = spans_of(receiver, answer)
    assert [span.name for span in children(spans, root.span_id)] == ["receive", "detect", "write"]
    (attempt,) = children(spans, only(spans, "detect").span_id)
    names = list(dict.fromkeys(span.name for span in children(spans, attempt.span_id)))
    assert names == ["queue", "decode", "preprocess", "infer", "postprocess"]
    call = only(spans, CALL)
    assert (call.parent_id, call.kind, call.status) == (only(spans, "infer").span_id, "CLIENT", "UNSET")
    assert call.facts == {
        "rpc.system": "grpc",
        "rpc.service": "inference.GRPCInferenceService",
        "rpc.method": "ModelInfer",
        "server.address": "127.0.0.1",
        "server.port": server.ports["grpc"],
    }


def test_a_request_that_leaves_a_dead_triton_shows_both_attempts(receiver, server, repository):
    both = {"backends": ("triton", "openvino"), "probe_interval_s": 60, "tracing": True}
    with gateway_to(server, repository=repository, **both) as gateway:
        server.kill()
        answer = gateway.client.post("/detect", content=RED)
        assert answer.json()["model"]["backend"] == "openvino"
        spans, root = spans_of(receiver, answer)
    assert root.status == "UNSET"
    detect = only(spans, "detect")
    assert (detect.status, detect.facts["sparsight.backend"]) == ("UNSET", "openvino")
    failed, answered = children(spans, detect.span_id)
    assert (failed.facts["sparsight.backend"], failed.status) == ("triton", "ERROR")
    assert failed.facts["error.type"] == "backend-unavailable"
    assert "triton does not answer" in failed.status_text
    assert (answered.facts["sparsight.backend"], answered.status) == ("openvino", "UNSET")
    call = only(spans, CALL)
    assert (call.status, call.facts["rpc.grpc.status"]) == ("ERROR", "UNAVAILABLE")
    assert len([span for span in spans if span.name == "decode"]) == 1  # the image is decoded once


def test_a_deadline_that_passes_in_triton_is_an_error_from_the_call_up(receiver, server, repository):
    with gateway_to(server, repository=repository, probe_interval_s=60, tracing=True) as gateway:
        server.pause()
        answer = gateway.client.post("/detect", params={"timeout_ms": 300}, content=RED)
        server.resume()
        assert answer.status_code == 504
        spans, root = spans_of(receiver, answer)
    for name in ("POST /detect", "detect", "attempt", "infer", CALL):
        span = only(spans, name)
        assert (span.status, span.facts["error.type"]) == ("ERROR", "deadline-exceeded"), name
    assert only(spans, CALL).facts["rpc.grpc.status"] == "DEADLINE_EXCEEDED"
    assert root.facts["http.response.status_code"] == 504
    assert not [span for span in spans if span.name == "write"]


def test_the_command_prints_the_trace_of_one_request_as_a_tree():
    done = subprocess.run(
        [sys.executable, "-m", "tests.tracing", "--query", "top_k=1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    names = [line.split("─ ")[-1].split()[0] for line in done.stdout.splitlines() if "  sparsight" in line]
    assert names[:3] == ["POST", "receive", "detect"]
    assert {"attempt", "queue", "decode", "preprocess", "infer", CALL, "postprocess", "write"} <= {*names}
    assert "InferRequest" in done.stdout
    assert "  sparsight.top_k = 1" in done.stdout
