"""Under overload, a plain request is refused from its head, with the answer that the app would have given."""

import json
import re
import socket
import threading
import time
from contextlib import ExitStack, contextmanager
from functools import partial

import pytest

from service.rest.middleware import wrap as middleware
from service.rest.middleware.door import Patience
from service.rest.middleware.doorstep import Doorstep
from service.server import protocol
from tests.builders import golden_image, image_bytes
from tests.integration.service.conftest import serve, wait_until_ready

RED = image_bytes(golden_image())


@pytest.fixture
def quick(monkeypatch):
    """Return a list to which the doorstep adds a value for each request: whether it refused it."""
    refused, refuse = [], Doorstep.refuse

    def noted(self, target, headers):
        answer = refuse(self, target, headers)
        refused.append(answer is not None)
        return answer

    monkeypatch.setattr(Doorstep, "refuse", noted)
    return refused


def connect(running):
    host, port = running.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def head(size, *headers, target="/detect"):
    lines = [f"POST {target} HTTP/1.1", "Host: x", f"Content-Length: {size}", *headers, "", ""]
    return "\r\n".join(lines).encode()


def read_answer(connection):
    """Return the status line, the headers and the body of one answer."""
    received = b""
    while b"\r\n\r\n" not in received:
        part = connection.recv(65536)
        assert part
        received += part
    top, body = received.split(b"\r\n\r\n", 1)
    first, *lines = top.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    while len(body) < int(headers["content-length"]):
        body += connection.recv(65536)
    return first, headers, json.loads(body)


@contextmanager
def full(**settings):
    """Run a service that has room for one request, which is on its way."""
    with serve(max_inflight=1, **settings) as running:
        wait_until_ready(running)
        with connect(running) as first:
            first.sendall(head(len(RED)))
            while running.metrics()["sparsight_inflight_requests"] < 2:
                time.sleep(0.01)
            yield running, first


def test_the_doorstep_and_the_app_refuse_alike(repository, quick):
    with full(repository=repository) as (running, _):
        answers = []
        for more in ((), ("Origin: http://other.example",)):
            with connect(running) as connection:
                connection.sendall(head(1000, "X-Request-Id: mine-1", *more) + bytes(1000))
                answers.append(read_answer(connection))
        metrics = running.metrics()
    assert quick[-2:] == [True, False]
    (first, headers, problem), _ = answers
    for answer in answers:
        answer[1].pop("date")
    assert answers[0] == answers[1]
    assert first == "HTTP/1.1 429 Too Many Requests"
    assert problem["id"] == headers["x-request-id"] == "mine-1"
    assert problem["type"] == "urn:sparsight:problem:overloaded"
    assert "SPARSIGHT_MAX_INFLIGHT" in problem["detail"]
    assert headers["retry-after"] == "1"
    assert headers["content-type"] == "application/problem+json"
    assert headers["x-content-type-options"] == "nosniff"
    assert metrics['sparsight_requests_total{code="429",route="/detect"}'] == 2
    assert metrics['sparsight_request_duration_seconds_count{route="/detect"}'] == 2
    assert metrics['sparsight_requests_rejected_total{reason="overloaded"}'] == 2
    assert metrics["sparsight_inflight_requests"] == 2  # the first request, and the one for the metrics


def test_each_refusal_has_an_id_of_its_own(repository, quick):
    with full(repository=repository) as (running, _), connect(running) as connection:
        answers = []
        for _ in range(3):
            connection.sendall(head(10) + bytes(10))
            answers.append(read_answer(connection))
    assert quick[-3:] == [True] * 3
    assert all(problem["id"] == headers["x-request-id"] for _, headers, problem in answers)
    assert len({problem["id"] for _, _, problem in answers}) == 3
    assert all(re.fullmatch("[0-9A-HJKMNP-TV-Z]{26}", problem["id"]) for _, _, problem in answers)


def test_a_refused_caller_can_use_its_connection_again_once_there_is_room(repository, quick):
    with full(repository=repository) as (running, first), connect(running) as connection:
        connection.sendall(head(300_000))
        assert read_answer(connection)[0].startswith("HTTP/1.1 429")  # before the body
        for _ in range(3):
            connection.sendall(bytes(100_000))
            time.sleep(0.02)
        first.sendall(RED)
        assert read_answer(first)[0] == "HTTP/1.1 200 OK"
        connection.sendall(head(len(RED)) + RED)
        assert read_answer(connection)[0] == "HTTP/1.1 200 OK"
    assert quick[-2:] == [True, False]


def test_requests_that_were_sent_together_are_refused_one_after_the_other(repository, quick):
    with full(repository=repository) as (running, _), connect(running) as connection:
        connection.sendall((head(100) + bytes(100)) * 3 + head(0, "Connection: close"))
        received = b""
        while part := connection.recv(65536):
            received += part
    assert received.count(b"HTTP/1.1 429") == 4
    assert quick[-4:] == [True] * 4
    assert received.lower().count(b"connection: close") == 1


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_refused_caller_that_closes_may_send_its_body_first(repository, quick, version):
    with full(repository=repository) as (running, _), connect(running) as connection:
        last = head(200_000, "Connection: close").replace(b"HTTP/1.1", f"HTTP/{version}".encode())
        connection.sendall(last)
        first, headers, _ = read_answer(connection)
        assert first.startswith("HTTP/1.1 429")
        assert headers["connection"] == "close"
        for _ in range(2):
            time.sleep(0.1)
            connection.sendall(bytes(100_000))
        assert connection.recv(100) == b""
    assert quick[-1]


@pytest.mark.parametrize("connection_header", ["close", "keep-alive"])
def test_nothing_is_taken_behind_a_refused_request_that_closes(repository, quick, caplog, connection_header):
    with full(repository=repository) as (running, _), connect(running) as connection:
        last = head(10, f"Connection: {connection_header}").replace(b"HTTP/1.1", b"HTTP/1.0") + bytes(10)
        connection.sendall(last + head(10) + bytes(10))
        assert read_answer(connection)[1]["connection"] == "close"
        assert connection.recv(100) == b""
        metrics = running.metrics()
    assert metrics['sparsight_requests_total{code="429",route="/detect"}'] == 1
    assert "Exception" not in caplog.text
    assert quick[-1] == (connection_header == "close")


@pytest.mark.parametrize("size", [1000, 8_000_000])
def test_a_client_that_waits_for_100_continue_is_refused_without_the_body(repository, quick, size):
    with full(repository=repository) as (running, _), connect(running) as connection:
        connection.sendall(head(size, "Expect: 100-continue"))
        first, headers, _ = read_answer(connection)
        assert first.startswith("HTTP/1.1 429")
        assert headers["connection"] == "close"
    assert not quick[-1]


@pytest.mark.parametrize(
    ("target", "header"), [(f"/detect?{'a=1&' * 1000}", "X-A: 1"), ("/detect", f"X-A: {'1' * 4000}")]
)
def test_a_very_long_head_is_left_to_the_app(repository, quick, target, header):
    with full(repository=repository) as (running, _), connect(running) as connection:
        connection.sendall(head(10, header, target=target) + bytes(10))
        assert read_answer(connection)[0].startswith("HTTP/1.1 429")
    assert not quick[-1]


def test_a_refused_caller_that_sends_no_more_of_its_body_is_disconnected(repository, quick, monkeypatch):
    monkeypatch.setattr(protocol, "SILENT_S", 0.3)
    with full(repository=repository) as (running, _), connect(running) as connection:
        connection.sendall(head(1000) + bytes(10))
        read_answer(connection)
        began = time.monotonic()
        assert connection.recv(100) == b""
        assert 0.2 < time.monotonic() - began < 3
    assert quick[-1]


def test_a_refused_caller_that_sends_too_slowly_is_disconnected(repository, quick, monkeypatch):
    monkeypatch.setattr(protocol, "DROP_S", 0.4)
    with full(repository=repository) as (running, _), connect(running) as connection:
        connection.sendall(head(1000))
        read_answer(connection)
        connection.settimeout(0.05)
        began = time.monotonic()
        while time.monotonic() - began < 5:
            try:
                connection.sendall(b"x")
                assert connection.recv(100) == b""
                break
            except TimeoutError:
                continue
            except (ConnectionResetError, BrokenPipeError):
                break
        assert 0.3 < time.monotonic() - began < 3
    assert quick[-1]


def test_a_service_that_stops_lets_a_refused_caller_send_its_body(repository, quick):
    service = ExitStack()
    running, _ = service.enter_context(full(repository=repository))
    with connect(running) as connection:
        connection.sendall(head(200_000))
        assert read_answer(connection)[0].startswith("HTTP/1.1 429")
        stopped = threading.Thread(target=service.close)
        stopped.start()
        time.sleep(0.5)
        for _ in range(2):
            connection.sendall(
                bytes(100_000)
            )  # the second would fail if the first had been answered by a reset
            time.sleep(0.2)
        assert connection.recv(100) == b""
    stopped.join()
    assert quick[-1]


def test_callers_are_held_when_refusals_are_too_frequent(repository, quick, monkeypatch):
    monkeypatch.setattr(middleware, "Patience", partial(Patience, free_per_s=2, hold_s=0.5))
    with full(repository=repository) as (running, _), connect(running) as connection:
        times = []
        for _ in range(5):
            connection.sendall(head(10) + bytes(10))
            began = time.monotonic()
            assert read_answer(connection)[0].startswith("HTTP/1.1 429")
            times.append(time.monotonic() - began)
    assert quick[-5:] == [True] * 5
    assert max(times[:3]) < 0.3  # two are free; the third has its answer at once, but its caller is held
    assert 0.3 < times[3] < 2


def test_a_request_that_ends_frees_a_held_caller(repository, quick, monkeypatch):
    monkeypatch.setattr(middleware, "Patience", partial(Patience, free_per_s=0, hold_s=8))
    with full(repository=repository) as (running, _), connect(running) as connection:
        began = time.monotonic()
        for _ in range(2):
            connection.sendall(head(10) + bytes(10))
            read_answer(connection)
            running.client.get("/healthz")
        assert time.monotonic() - began < 4
    assert quick[-2:] == [True] * 2
