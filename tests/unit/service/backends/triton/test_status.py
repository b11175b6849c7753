"""Which service error each status of Triton becomes."""

import pytest

from service.backends.triton.status import TABLE, RegionForgotten, meaning_of, to_error
from service.errors import BackendBusy, BackendFailed, BackendUnavailable, DeadlineExceeded


def error_of(status, message, *, own_limit=True, late=False):
    return to_error(f"StatusCode.{status}", message, allowed_s=10, own_limit=own_limit, late=late)


# The messages are what Triton 2.51 and gRPC say.
ROWS = [
    ("UNAVAILABLE", "[request id: x] Exceeds maximum queue size", BackendBusy),
    ("UNAVAILABLE", "Request timeout expired", BackendBusy),
    ("UNAVAILABLE", "Request for unknown model: 'm' version 1 is not at ready state", BackendUnavailable),
    ("UNAVAILABLE", "failed to connect to all addresses; last error: …", BackendUnavailable),
    ("NOT_FOUND", "Unable to find shared memory region: 'sparsight-1-ab'", RegionForgotten),
    ("NOT_FOUND", "Request for unknown model: 'm' version 7 is not found", BackendUnavailable),
    ("DEADLINE_EXCEEDED", "Deadline Exceeded", DeadlineExceeded),
    ("INTERNAL", "Stub process 'm_0_0' is not healthy.", BackendUnavailable),
    ("INTERNAL", "Failed to process the request(s) for model 'm_0_0'", BackendUnavailable),
    ("UNKNOWN", "", BackendUnavailable),
    ("ABORTED", "", BackendUnavailable),
    ("CANCELLED", "", BackendUnavailable),
    ("UNAUTHENTICATED", "", BackendUnavailable),
    ("PERMISSION_DENIED", "", BackendUnavailable),
    ("INVALID_ARGUMENT", "unexpected shape for input 'images'", BackendFailed),
    ("OUT_OF_RANGE", "", BackendFailed),
    ("FAILED_PRECONDITION", "", BackendFailed),
    ("UNIMPLEMENTED", "", BackendFailed),
    ("RESOURCE_EXHAUSTED", "Received message larger than max", BackendFailed),
    ("RESOURCE_EXHAUSTED", "received metadata size exceeds hard limit (20572 vs. 16384)", BackendFailed),
    ("RESOURCE_EXHAUSTED", "quota of 10 requests a second", BackendBusy),
]


def test_the_rows_below_are_the_whole_table():
    assert [(status, meaning_of(status, message)) for status, message, _ in ROWS] == [
        (status, meaning) for status, _, meaning in TABLE
    ]


@pytest.mark.parametrize(("status", "message", "expected"), ROWS, ids=lambda value: str(value)[:40])
def test_a_status_becomes_an_error(status, message, expected):
    assert type(error_of(status, message)) is expected


def test_a_status_that_nobody_has_seen_is_a_server_that_is_not_well():
    assert isinstance(error_of("DATA_LOSS", "what?"), BackendUnavailable)


def test_only_a_lost_connection_or_a_dead_process_opens_the_breaker_at_once():
    lost = [row[:2] for row in ROWS if getattr(error_of(*row[:2]), "lost", False)]
    assert lost == [
        ("UNAVAILABLE", "failed to connect to all addresses; last error: …"),
        ("INTERNAL", "Stub process 'm_0_0' is not healthy."),
    ]


def test_only_an_unloaded_version_is_said_not_to_have_run():
    not_run = [row[1] for row in ROWS if getattr(error_of(*row[:2]), "not_run", False)]
    assert not_run == [
        "Request for unknown model: 'm' version 1 is not at ready state",
        "Request for unknown model: 'm' version 7 is not found",
    ]


def test_a_deadline_of_the_caller_is_not_a_silent_server():
    assert error_of("DEADLINE_EXCEEDED", "").silent
    assert not error_of("DEADLINE_EXCEEDED", "", own_limit=False).silent


def test_a_queue_that_gave_up_at_our_deadline_did_so_because_of_it():
    assert isinstance(error_of("UNAVAILABLE", "Request timeout expired", late=True), DeadlineExceeded)
    assert isinstance(error_of("UNAVAILABLE", "Exceeds maximum queue size", late=True), BackendBusy)


def test_a_sentence_is_short_and_says_what_the_server_said():
    error = error_of("INTERNAL", "first\nsecond " + "x" * 999)
    assert str(error).startswith("triton cannot run the model: INTERNAL: first second x")
    assert len(str(error)) < 260
