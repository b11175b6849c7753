"""The client's error for each status and message of Triton."""

import pytest

from clients.errors import (
    Busy,
    ClientError,
    DeadlineExceeded,
    NotServed,
    Refused,
    ServerFailed,
    Unreachable,
)
from clients.triton_status import to_error

IN_ENSEMBLE = "in ensemble 'starter-openvino-detect', "


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        ("UNAVAILABLE", IN_ENSEMBLE + "[request id: <id_unknown>] Exceeds maximum queue size", Busy),
        ("UNAVAILABLE", IN_ENSEMBLE + "Request timeout expired", Busy),
        (
            "RESOURCE_EXHAUSTED",
            "Stream removed (CLIENT: Received message larger than max (299 vs. 64))",
            Refused,
        ),
        ("RESOURCE_EXHAUSTED", "CLIENT: Sent message larger than max (12395 vs. 1024)", Refused),
        (
            "RESOURCE_EXHAUSTED",
            "received metadata size exceeds hard limit (20572 vs. 16384); adding x-big",
            Refused,
        ),
        ("RESOURCE_EXHAUSTED", "quota of 10 requests a second", Busy),
        ("UNAVAILABLE", "Request for unknown model: 'x' version 1 is not at ready state", NotServed),
        ("NOT_FOUND", "Request for unknown model: 'x' is not found", NotServed),
        ("NOT_FOUND", "Request for unknown model: 'x' has no available versions", NotServed),
        ("UNAVAILABLE", "failed to connect to all addresses; last error: …", Unreachable),
        ("UNAVAILABLE", "Socket closed", Unreachable),
        ("DEADLINE_EXCEEDED", "Stream removed (Deadline Exceeded)", DeadlineExceeded),
        ("INVALID_ARGUMENT", "unexpected shape for input 'images' for model 'x'. ", Refused),
        ("UNIMPLEMENTED", "Method not found!", Refused),
        ("PERMISSION_DENIED", "", Refused),
        ("INTERNAL", IN_ENSEMBLE + "Stub process 'x_0_0' is not healthy.", ServerFailed),
        ("CANCELLED", "cancelled", ServerFailed),
        ("NOT_FOUND", "Unable to find shared memory region: 'x'", ServerFailed),
        ("HTTP status 418", "", ServerFailed),
    ],
)
def test_a_status_becomes_the_error_that_fits(status, text, kind):
    error = to_error(status, text, url="127.0.0.1:8001", model="x", timeout_s=2.5)
    assert type(error) is kind
    assert isinstance(error, ClientError)


@pytest.mark.parametrize(
    ("text", "late", "kind"),
    [
        ("Request timeout expired", True, DeadlineExceeded),
        ("Request timeout expired", False, Busy),  # the server's own limit of its queue
        ("Exceeds maximum queue size", True, Busy),
    ],
)
def test_a_wait_in_the_queue_that_the_deadline_ended_is_a_passed_deadline(text, late, kind):
    error = to_error("UNAVAILABLE", IN_ENSEMBLE + text, url="x", model="x", timeout_s=2.5, late=late)
    assert type(error) is kind


def test_sentences_say_what_happened_and_what_to_do():
    def sentence(status, text):
        return str(to_error(status, text, url="127.0.0.1:8001", model="x-detect", timeout_s=2.5))

    assert sentence("UNAVAILABLE", "Socket closed.") == (
        "cannot reach Triton at 127.0.0.1:8001: Socket closed; check that Triton runs, that the port belongs"
        " to the protocol (usually 8001 for grpc, 8000 for http), and that tls is set if Triton uses TLS"
    )
    assert "does not serve x-detect (it is not found)" in sentence("NOT_FOUND", "it is not found")
    assert "no answer within 2.5 s; give more time (timeout_s)" in sentence("DEADLINE_EXCEEDED", "")
    assert "PERMISSION_DENIED" in sentence("PERMISSION_DENIED", "")
