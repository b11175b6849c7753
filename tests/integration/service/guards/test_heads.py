"""Heads that are faulty, late or too large never reach the app, and no request behind them is served."""

import contextlib
import json
import re
import threading
import time

import pytest

from service.rest.heads import LARGEST_HEAD
from service.rest.middleware import wrap
from service.server import guarded
from service.serving import stages
from tests.builders import golden_image, image_bytes
from tests.integration.service.test_doorstep import connect, full, head, read_answer

RED = image_bytes(golden_image())
POST = b"POST /detect HTTP/1.1\r\nHost: x\r\n"
SECOND = b"GET /models HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKS = b"Transfer-Encoding: chunked\r\n\r\n"
LOADED = 'sparsight_requests_total{code="200",route="/models"}'


def read_all(connection):
    received = b""
    try:
        while part := connection.recv(65536):
            received += part
    except ConnectionResetError:
        pass
    return received


def refused(running, reason):
    return running.metrics()[f'sparsight_refused_connections_total{{reason="{reason}"}}']


# ---- one reading only --------------------------------------------------------------------------------


def trickle(connection, piece):
    """Send a piece again and again until an answer comes, or for 5 s; return the seconds and the answer."""
    connection.settimeout(0.05)
    began, received = time.monotonic(), b""
    while b"\r\n\r\n" not in received and time.monotonic() - began < 5:
        connection.sendall(piece)
        try:
            received += connection.recv(1000)
        except TimeoutError:
            continue
    return time.monotonic() - began, received


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(POST + b"Content-Length: 5\r\n" + CHUNKS + b"0\r\n\r\n", id="length and chunks"),
        pytest.param(
            POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", id="chunks and length"
        ),
        pytest.param(POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef", id="two lengths"),
        pytest.param(POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nabcde", id="one length, twice"),
        pytest.param(POST + b"Content-Length: 5, 5\r\n\r\nabcde", id="a list of lengths"),
        pytest.param(POST + b"Content-Length: +5\r\n\r\nabcde", id="a length with a sign"),
        pytest.param(POST + b"Content-Length: 0x5\r\n\r\nabcde", id="a length in hexadecimal"),
        pytest.param(POST + b"Content-Length:\r\n\r\n", id="an empty length"),
        pytest.param(POST + b"Content-Length:\r\n 5\r\n\r\nabcde", id="a folded length"),
        pytest.param(POST + b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n", id="a folded header"),
        pytest.param(POST + b"Content-Length : 5\r\n\r\nabcde", id="a space before the colon"),
        pytest.param(POST + b"X: a\nContent-Length: 5\r\n\r\nabcde", id="a bare LF"),
        pytest.param(POST + b"X: a\rContent-Length: 5\r\n\r\nabcde", id="a bare CR"),
        pytest.param(POST + b"X: a\0b\r\n\r\n", id="a zero byte"),
        pytest.param(b"POST /detect HTTP/1.1\nHost: x\nContent-Length: 0\n\n", id="only LF"),
        pytest.param(POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", id="xchunked"),
        pytest.param(POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", id="a tab, then chunked"),
        pytest.param(POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", id="gzip, then chunks"),
        pytest.param(POST + b"Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n", id="identity, chunks"),
        pytest.param(POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", id="chunks, identity"),
        pytest.param(POST + b"Transfer-Encoding: chunked\r\n" + CHUNKS + b"0\r\n\r\n", id="chunks, twice"),
        pytest.param(POST.replace(b"1.1", b"1.0") + CHUNKS + b"0\r\n\r\n", id="chunks in HTTP/1.0"),
        pytest.param(POST + CHUNKS + b"1\nx\n0\n\n", id="chunks with bare LF"),
        pytest.param(POST + CHUNKS + b"0x1\r\nx\r\n0\r\n\r\n", id="a chunk with 0x"),
        pytest.param(POST + CHUNKS + b"f" * 17 + b"\r\nx", id="a chunk larger than any"),
        pytest.param(POST + CHUNKS + b"1\r\nxy\r\n0\r\n\r\n", id="a chunk longer than it says"),
        pytest.param(POST + CHUNKS + b"0\r\nContent-Length: 9\r\n\r\n", id="a length behind the chunks"),
        pytest.param(b"GET /models HTTP/1.1\r\n\r\n", id="no host"),
        pytest.param(b"GET /models HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", id="two hosts"),
        pytest.param(b"GET /models\r\n\r\n", id="HTTP/0.9"),
        pytest.param(b"GET /models HTTP/2.0\r\nHost: x\r\n\r\n", id="HTTP/2.0"),
        pytest.param(
            POST + b"Connection: Upgrade\r\nUpgrade: other\r\nContent-Length: 34\r\n\r\n",
            id="a length, and another protocol",
        ),
        pytest.param(
            POST + b"Connection: Upgrade\r\nUpgrade: other\r\n" + CHUNKS, id="chunks, and another protocol"
        ),
    ],
)
def test_what_two_programs_could_read_in_two_ways_is_refused(served, request_bytes, caplog):
    before = served.metrics().get(LOADED, 0)
    with connect(served) as connection:
        connection.sendall(request_bytes + SECOND)
        received = read_all(connection)
    assert received.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert len(re.findall(rb"HTTP/1.1 \d", received)) == 1
    assert b"\r\nconnection: close\r\n" in received
    assert json.loads(received.split(b"\r\n\r\n")[1])["type"] == "urn:sparsight:problem:bad-request"
    assert served.metrics().get(LOADED, 0) == before  # the second request was never seen
    assert "Exception" not in caplog.text


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(POST + b"Content-Length:  5 \r\n\r\nabcde", id="spaces around a length"),
        pytest.param(POST + b"Content-Length: 0005\r\n\r\nabcde", id="zeros before a length"),
        pytest.param(POST + b"Transfer-Encoding: CHUNKED \r\n\r\n5\r\nabcde\r\n0\r\n\r\n", id="CHUNKED"),
        pytest.param(POST + CHUNKS + b"5;a=b\r\nabcde\r\n0\r\nX: y\r\n\r\n", id="a chunk with more to it"),
        pytest.param(POST + b"Upgrade: other\r\nContent-Length: 5\r\n\r\nabcde", id="Upgrade alone"),
    ],
)
def test_what_can_be_read_in_one_way_only_is_answered(served, request_bytes):
    with connect(served) as connection:
        connection.sendall(request_bytes)
        assert read_answer(connection)[0] == "HTTP/1.1 415 Unsupported Media Type"
        connection.sendall(SECOND)
        assert read_answer(connection)[0] == "HTTP/1.1 200 OK"


def test_a_body_behind_a_request_for_another_protocol_is_no_request(served):
    before = served.metrics().get(LOADED, 0)
    with connect(served) as connection:
        upgrade = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        connection.sendall(upgrade)
        assert read_answer(connection)[0] == "HTTP/1.1 200 OK"
        connection.sendall(SECOND)
        assert read_all(connection) == b""
    assert served.metrics().get(LOADED, 0) == before


def test_fields_behind_a_body_are_no_headers(served):
    with connect(served) as connection:
        fields = b"X-Request-Id: other\r\nOrigin: http://a.example\r\n"
        named = POST + b"X-Request-Id: mine\r\n" + CHUNKS
        connection.sendall(named + b"5\r\nabcde\r\n0\r\n" + fields + b"\r\n")
        assert read_answer(connection)[1]["x-request-id"] == "mine"


def test_a_fault_behind_a_sound_request_ends_the_connection_after_the_answer(served):
    with connect(served) as connection:
        connection.sendall(head(len(RED)) + RED + b"GET / HTTP/1.1\r\nHost : x\r\n\r\n")
        first, headers, answer = read_answer(connection)
        assert first == "HTTP/1.1 200 OK"
        assert answer["id"] == headers["x-request-id"]
        assert headers["connection"] == "close"
        assert read_all(connection) == b""


def test_a_damaged_body_behind_another_request_leaves_that_ones_answer_whole(served):
    with connect(served) as connection:
        connection.sendall(head(len(RED)) + RED + POST + CHUNKS + b"1\r\nxy\r\n")
        first, _, answer = read_answer(connection)
        assert first == "HTTP/1.1 200 OK"
        assert answer["model"]["name"] == "tiny"
        assert read_all(connection) == b""


# ---- size --------------------------------------------------------------------------------------------


def head_of(size):
    """Return a request whose target and headers have `size` bytes, as the service counts them."""
    begin = b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: "
    return begin + b"a" * (size - len("/healthz") - len("Hostx") - 4 - len("A") - 4) + b"\r\n\r\n"


def test_a_head_may_be_as_large_as_the_limit(served):
    with connect(served) as connection:
        connection.sendall(head_of(LARGEST_HEAD))
        assert read_answer(connection)[0] == "HTTP/1.1 200 OK"


def test_a_larger_head_is_refused(served):
    with connect(served) as connection:
        connection.sendall(head_of(LARGEST_HEAD + 1))
        first, headers, problem = read_answer(connection)
        assert first == "HTTP/1.1 431 Request Header Fields Too Large"
        assert headers["connection"] == "close"
        assert problem["detail"].startswith("the head of the request is over the limit of 65,536 bytes")


@pytest.mark.parametrize(
    "begin",
    [
        pytest.param(b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: ", id="a header"),
        pytest.param(b"GET /healthz?", id="a target"),
        pytest.param(POST + CHUNKS + b"1;", id="a chunk's line"),
        pytest.param(POST + CHUNKS + b"0\r\nA: ", id="a field behind the body"),
    ],
)
def test_what_never_ends_is_not_kept(served, begin):
    with connect(served) as connection:
        connection.sendall(begin)
        for _ in range(20):
            connection.sendall(b"a" * 10_000)
        assert read_all(connection).startswith(b"HTTP/1.1 431 ")


# ---- time --------------------------------------------------------------------------------------------


@pytest.fixture
def hasty(monkeypatch):
    monkeypatch.setattr(guarded, "HEAD_S", 0.5)


def test_a_head_that_arrives_in_time_is_answered(start, repository, monkeypatch):
    monkeypatch.setattr(guarded, "HEAD_S", 1.5)
    with connect(start(repository=repository)) as connection:
        for _ in range(2):  # the clock begins anew
            connection.sendall(SECOND[:20])
            time.sleep(0.9)
            connection.sendall(SECOND[20:])
            assert read_answer(connection)[0] == "HTTP/1.1 200 OK"


@pytest.mark.parametrize("before", [b"", SECOND], ids=["the first head", "the second head"])
def test_a_head_that_does_not_end_is_a_408(start, repository, hasty, before):
    running = start(repository=repository)
    with connect(running) as connection:
        if before:
            connection.sendall(before)
            read_answer(connection)
        began = time.monotonic()
        with contextlib.suppress(OSError):  # if this machine is slow, and the time is over
            for byte in SECOND[:10]:
                connection.sendall(bytes([byte]))
                time.sleep(0.03)
        first, headers, problem = read_answer(connection)
        assert 0.45 < time.monotonic() - began < 2
        assert first == "HTTP/1.1 408 Request Timeout"
        assert headers["connection"] == "close"
        assert problem["detail"].startswith("the head of the request did not arrive in time")
        assert read_all(connection) == b""
    assert refused(running, "slow-head") == 1


@pytest.mark.parametrize(
    ("before", "sent"),
    [(b"", b""), (b"", b"\r\n"), (SECOND, b"\r\n")],
    ids=["nothing", "a line break", "a line break, later"],
)
def test_a_client_that_asks_for_nothing_gets_no_answer(start, repository, hasty, before, sent):
    with connect(start(repository=repository)) as connection:
        if before:
            connection.sendall(before)
            read_answer(connection)
        connection.sendall(sent)
        began = time.monotonic()
        assert read_all(connection) == b""
        assert 0.3 < time.monotonic() - began < 3


def test_a_late_answer_does_not_count_as_a_late_head(start, repository, hasty, monkeypatch):
    running = start(repository=repository)
    decode = stages.decode

    def decode_slowly(*arguments):
        time.sleep(1.2)
        return decode(*arguments)

    monkeypatch.setattr(stages, "decode", decode_slowly)
    with connect(running) as connection:
        connection.sendall(head(len(RED)) + RED + SECOND[:20])
        read_answer(connection)
        connection.sendall(SECOND[20:])
        assert read_answer(connection)[0] == "HTTP/1.1 200 OK"


@pytest.mark.parametrize("more", [["Expect: 100-continue"], []], ids=["expect", "at once"])
def test_a_body_of_single_bytes_is_limited_in_time(start, repository, more):
    with connect(start(repository=repository, body_timeout_s=0.6)) as connection:
        connection.sendall(head(1000, *more))
        if more:
            assert connection.recv(100).startswith(b"HTTP/1.1 100")
        took_s, received = trickle(connection, b"a")
        assert 0.5 < took_s < 2
        assert received.startswith(b"HTTP/1.1 408 ")


def test_a_body_in_chunks_of_one_byte_is_limited_in_time(start, repository, monkeypatch):
    monkeypatch.setattr(wrap, "SILENT_S", 0.2)
    with connect(start(repository=repository, body_timeout_s=0.6)) as connection:
        connection.sendall(POST + CHUNKS)
        took_s, received = trickle(connection, b"1\r\na\r\n")
        assert 0.5 < took_s < 2
        assert received.startswith(b"HTTP/1.1 408 ")
        assert b"connection: close" in received.lower()


# ---- the end -----------------------------------------------------------------------------------------


def test_a_service_that_stops_takes_no_request_behind_a_refused_body(repository, caplog):
    service = contextlib.ExitStack()
    running, _ = service.enter_context(full(repository=repository))
    with connect(running) as connection:
        connection.sendall(head(1000))
        assert read_answer(connection)[0].startswith("HTTP/1.1 429")
        stopped = threading.Thread(target=service.close)
        stopped.start()
        time.sleep(0.5)
        connection.sendall(bytes(1000) + head(len(RED)) + RED + SECOND)
        assert read_all(connection) == b""
    stopped.join()
    assert [line for line in caplog.records if getattr(line, "route", "") in {"/models", "other"}] == []
    assert "Exception" not in caplog.text
