"""The client's errors for problems of the service and of a proxy in front of it."""

import pytest

from clients.errors import (
    BadImage,
    BadParameter,
    Busy,
    ClientError,
    DeadlineExceeded,
    KeyRefused,
    LimitReached,
    NotServed,
    Refused,
    ServerFailed,
    Unavailable,
    UnreadableAnswer,
)
from clients.rest import RestClient
from tests.unit.clients.answering import answering, problem


def fails(status, body, headers=()):
    """Return the error that an answer becomes; the request is sent once."""
    with answering(status, body, headers) as (address, seen), RestClient(f"http://{address}") as client:
        with pytest.raises(ClientError) as failed:
            client.detect(b"an image")
        assert len(seen) == 1
    return failed.value


@pytest.mark.parametrize(
    ("status", "slug", "kind"),
    [
        (422, "undecodable-image", BadImage),
        (413, "image-too-large", BadImage),
        (404, "unknown-model", NotServed),
        (403, "forbidden", KeyRefused),
        (429, "rate-exceeded", LimitReached),
        (429, "quota-exceeded", LimitReached),
        (429, "overloaded", Busy),
        (503, "not-ready", Unavailable),
        (500, "backend-failed", ServerFailed),
        (418, "of-a-later-release", Refused),
        (429, "of-a-later-release", Busy),
        (599, "of-a-later-release", ServerFailed),
    ],
)
def test_a_problem_becomes_the_error_that_fits_with_the_services_sentence(status, slug, kind):
    error = fails(status, problem(slug))
    assert type(error) is kind
    assert str(error) == "a sentence"


def test_a_wrong_parameter_is_named():
    errors = [{"parameter": "top_k", "detail": "use one of: 1, 2"}]
    error = fails(422, problem("invalid-parameter", errors=errors))
    assert (type(error), error.parameter, str(error)) == (BadParameter, "top_k", "a sentence")
    assert fails(422, problem("backend-not-offered")).parameter == "backend"


@pytest.mark.parametrize(
    ("slug", "kind"),
    [("backend-busy", Busy), ("backend-unavailable", Unavailable), ("out-of-resources", Unavailable)],
)
@pytest.mark.parametrize(
    ("header", "wait_s"), [({"Retry-After": "3"}, 3.0), ({}, None), ({"Retry-After": "Mon"}, None)]
)
def test_a_busy_service_says_when_to_come_back(slug, kind, header, wait_s):
    error = fails(503, problem(slug), header)
    assert (type(error), error.retry_after_s) == (kind, wait_s)


def test_a_deadline_is_this_clients_own_but_a_slow_upload_is_the_services():
    assert str(fails(504, problem("deadline-exceeded"))).startswith("no answer within 10 s; give more time")
    error = fails(408, problem("body-timeout"))
    assert (type(error), str(error)) == (DeadlineExceeded, "a sentence")


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (502, Unavailable, "answers with HTTP status 502"),
        (429, Busy, "answers with HTTP status 429"),
        (413, BadImage, "answers with HTTP status 413"),
        (403, Refused, "answers with HTTP status 403"),
        (500, ServerFailed, "answers with HTTP status 500"),
        (308, UnreadableAnswer, "the server redirects to https://there"),
    ],
)
def test_what_stands_between_may_answer_without_a_problem(status, kind, words):
    error = fails(status, b"<html>", {"Location": "https://there"})
    assert type(error) is kind
    assert words in str(error)


def test_a_path_without_detection_is_told():
    assert "the server has no address /detect" in str(fails(404, problem("not-found")))


def test_a_server_that_hangs_up_is_unreachable():
    assert "the connection broke" in str(fails(None, b""))
