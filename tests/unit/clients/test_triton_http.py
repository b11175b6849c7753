"""Triton's HTTP protocol byte for byte, and answers that violate it."""

import json
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest

from clients.errors import (
    BadParameter,
    Busy,
    DeadlineExceeded,
    ManifestMismatch,
    NotServed,
    Refused,
    ServerFailed,
    Unreachable,
)
from clients.transport import Deadline
from clients.triton_http import HttpTransport
from tests.unit.clients.answering import answering

LENGTH = "Inference-Header-Content-Length"
BOXES = np.array([[1, 2, 3, 4]], np.float32)


@contextmanager
def transport_to(**server):
    """Yield a transport to a server that always answers the same, and the requests."""
    with answering(**server) as (address, seen):
        transport = HttpTransport(f"{address}/base/", None)
        try:
            yield transport, seen
        finally:
            transport.close()


def answer(*outputs, raw=b""):
    """Frame outputs as Triton does."""
    header = json.dumps({"outputs": list(outputs)}).encode()
    return {"body": header + raw, "headers": {LENGTH: str(len(header))}}


def output(name, value, **changes):
    return {
        "name": name,
        "datatype": "FP32",
        "shape": list(value.shape),
        "parameters": {"binary_data_size": value.nbytes},
        **changes,
    }


def infer(transport, timeout_s=5.0):
    inputs = {"images": np.arange(6, dtype=np.uint8).reshape(1, 2, 3), "conf": np.array([0.5], np.float32)}
    return transport.infer("m-detect", inputs, ("boxes", "scores"), Deadline(timeout_s), {"image_height": 7})


def test_a_request_is_a_json_header_and_the_raw_tensors():
    with transport_to(**answer()) as (transport, seen):
        infer(transport)
    ((path, headers, body),) = seen
    split = int(headers[LENGTH])
    told = json.loads(body[:split])
    assert path == "/base/v2/models/m-detect/infer"
    assert headers["Accept-Encoding"] == "identity"  # Triton would compress its answer otherwise
    assert told["inputs"] == [
        {"name": "images", "shape": [1, 2, 3], "datatype": "UINT8", "parameters": {"binary_data_size": 6}},
        {"name": "conf", "shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": 4}},
    ]
    assert body[split:] == bytes(range(6)) + np.float32(0.5).tobytes()
    assert told["parameters"]["binary_data_output"] is True
    assert told["parameters"]["image_height"] == 7
    assert 4_000_000 < told["parameters"]["timeout"] <= 5_000_000  # microseconds


def test_tensors_are_read_in_the_order_sent_and_only_those_wanted_are_kept():
    empty = np.zeros(0, np.float32)
    framed = answer(output("other", BOXES), output("scores", empty), output("boxes", BOXES * 2), raw=b"")
    framed["body"] += BOXES.tobytes() + (BOXES * 2).tobytes()
    with transport_to(**framed) as (transport, _):
        found = infer(transport)
    assert set(found) == {"boxes", "scores"}
    assert found["boxes"].tolist() == [[2, 4, 6, 8]]
    assert found["scores"].shape == (0,)


def test_texts_are_read_as_bytes():
    raw = b"\x02\0\0\0ab\0\0\0\0\x03\0\0\0\0\xff\n"
    row = {"name": "boxes", "datatype": "BYTES", "shape": [3], "parameters": {"binary_data_size": len(raw)}}
    nothing = {"name": "scores", "datatype": "BYTES", "shape": [0], "parameters": {"binary_data_size": 0}}
    with transport_to(**answer(row, nothing, raw=raw)) as (transport, _):
        found = infer(transport)
    assert found["boxes"].tolist() == [b"ab", b"", b"\0\xff\n"]
    assert (found["scores"].shape, str(found["scores"].dtype)) == ((0,), "object")


def test_parameters_are_those_of_the_configuration():
    body = json.dumps({"name": "m", "parameters": {"a": {"string_value": "x"}}}).encode()
    with transport_to(body=body) as (transport, seen):
        assert transport.parameters("m-detect", Deadline(5)) == {"a": "x"}
    assert seen[0][0] == "/base/v2/models/m-detect/config"


def test_a_configuration_without_parameters_has_none():
    with transport_to(body=b"{}") as (transport, _):
        assert transport.parameters("m", Deadline(5)) == {}


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b'{"parameters": 1}', b'{"parameters": {"a": 1}}', b"\xff"]
)
def test_a_configuration_that_cannot_be_read_is_no_tritons(body):
    with transport_to(body=body) as (transport, _), pytest.raises(ManifestMismatch):
        transport.parameters("m", Deadline(5))


@pytest.mark.parametrize(
    "framed",
    [
        {"body": b"{}"},
        {"body": b"{}", "headers": {LENGTH: "-1"}},
        {"body": b"nonsense", "headers": {LENGTH: "8"}},
        {"body": b"{}", "headers": {LENGTH: "2"}},
        {"body": b'{"outputs": [1]}', "headers": {LENGTH: "16"}},
        answer(output("boxes", BOXES)),
        answer(output("boxes", BOXES, shape=[2, 4]), raw=BOXES.tobytes()),
        answer(output("boxes", BOXES, datatype="COMPLEX"), raw=BOXES.tobytes()),
        answer(output("boxes", BOXES, datatype="BYTES"), raw=b"\x03\0\0\0abc\x06\0\0\0rest.."[:-1]),
        answer(output("boxes", BOXES, datatype="BYTES"), raw=b"\x0c\0\0\0" + bytes(12)),
        answer(output("boxes", BOXES, parameters={}), raw=BOXES.tobytes()),
    ],
    ids=[
        "no length",
        "bad length",
        "no json",
        "no outputs",
        "odd",
        "no data",
        "shape",
        "type",
        "cut text",
        "texts",
        "no size",
    ],
)
def test_an_answer_that_cannot_be_read_is_refused(framed):
    with transport_to(**framed) as (transport, _), pytest.raises(ManifestMismatch):
        infer(transport)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (503, b'{"error":"in ensemble \'m\', Exceeds maximum queue size"}', Busy),
        (503, b"<html>no upstream</html>", Unreachable),
        (429, b"", Busy),
        (413, b"", Refused),
        (404, b'{"error":"Request for unknown model"}', NotServed),
        (500, b'{"error":"Stub process is not healthy."}', ServerFailed),
        (500, b"", ServerFailed),
        (302, b"", ServerFailed),
        (200, b"<html>hello</html>", ManifestMismatch),
    ],
)
def test_a_status_becomes_the_error_that_fits_and_nothing_is_sent_twice(status, body, kind):
    with transport_to(status=status, body=body, headers={"Location": "/elsewhere"}) as (transport, seen):
        with pytest.raises(kind):
            infer(transport)
        assert len(seen) == 1


def test_a_server_that_hangs_up_is_unreachable_and_is_not_asked_again():
    with transport_to(status=None) as (transport, seen):
        with pytest.raises(Unreachable, match="the connection broke"):
            infer(transport)
        with pytest.raises(Unreachable, match="the connection broke"):
            transport.parameters("m", Deadline(5))
        assert len(seen) == 2


def test_a_server_that_is_too_slow_is_left():
    left, waited = threading.Event(), []
    with transport_to(body=b"{}", wait=lambda: waited.append(left.wait(30))) as (transport, _):
        with pytest.raises(DeadlineExceeded, match=r"within 0\.05 s"):
            infer(transport, timeout_s=0.05)
        assert not waited, "no answer had been begun"
        left.set()


def test_a_server_that_sends_a_little_at_a_time_is_left():
    left = threading.Event()
    framed = {"body": [b" "] * 100, "wait": lambda: left.wait(0.05)}
    with transport_to(**framed) as (transport, _):
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded, match=r"within 0\.2 s"):
            transport.parameters("m", Deadline(0.2))
        assert time.monotonic() - started < 1
        left.set()


def test_an_address_that_is_none_is_refused():
    with pytest.raises(BadParameter, match="cannot be used"):
        HttpTransport("[::1:8000", None)


def test_a_proxy_of_the_environment_is_not_asked(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with transport_to(body=b"{}") as (transport, seen):
        transport.parameters("m", Deadline(5))
    assert len(seen) == 1
