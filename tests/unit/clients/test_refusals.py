"""What each status of Triton, in the words of the real server, means for a caller."""

import pytest

from clients.errors import (
    Busy,
    DeadlineExceeded,
    DetectorError,
    NotServed,
    Refused,
    ServerFailed,
    Unreachable,
)
from clients.transport import Deadline, refusal

IN_ENSEMBLE = "in ensemble 'starter-openvino-detect', "


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        ("UNAVAILABLE", IN_ENSEMBLE + "[request id: <id_unknown>] Exceeds maximum queue size", Busy),
        ("UNAVAILABLE", IN_ENSEMBLE + "Request timeout expired", Busy),
        ("RESOURCE_EXHAUSTED", "Received message larger than max", Busy),
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
        ("HTTP status 418", "", ServerFailed),
    ],
)
def test_a_status_becomes_the_error_that_fits(status, text, kind):
    error = refusal(status, text, url="127.0.0.1:8001", model="x", deadline=Deadline(2.5))
    assert type(error) is kind
    assert isinstance(error, DetectorError)


def test_sentences_say_what_happened_and_what_to_do():
    def sentence(status, text):
        return str(refusal(status, text, url="127.0.0.1:8001", model="x-detect", deadline=Deadline(2.5)))

    assert sentence("UNAVAILABLE", "Socket closed.") == (
        "cannot reach Triton at 127.0.0.1:8001: Socket closed; check that it runs, that this is the port of"
        " the protocol in use (usually 8001 for grpc, 8000 for http), and that tls is on if the server has it"
    )
    assert "does not serve x-detect (it is not found)" in sentence("NOT_FOUND", "it is not found")
    assert "no answer within 2.5 s; give more time (timeout_s)" in sentence("DEADLINE_EXCEEDED", "")
    assert "PERMISSION_DENIED" in sentence("PERMISSION_DENIED", "")
