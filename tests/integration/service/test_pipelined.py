"""A client that sends several requests at once and leaves ends the one that is being answered."""

import contextlib
import threading
import time

import pytest

from service.server.guarded import MOST_WAITING
from tests.builders import golden_image, image_bytes
from tests.integration.service.test_doorstep import connect, head

RED = image_bytes(golden_image())


def test_the_first_of_three_requests_ends_with_its_caller(start, repository, monkeypatch, caplog):
    running = start(repository=repository, workers=1)
    begun, may_end = threading.Event(), threading.Event()

    def decode_slowly(*_):
        begun.set()
        may_end.wait(30)

    monkeypatch.setattr("service.serving.stages.decode", decode_slowly)
    with connect(running) as connection:
        connection.sendall((head(len(RED)) + RED) * 3)
        assert begun.wait(10)
    gone, began = 'sparsight_requests_total{code="499",route="/detect"}', time.monotonic()
    while gone not in running.metrics():
        time.sleep(0.02)
        assert time.monotonic() - began < 10
    may_end.set()
    assert running.metrics()["sparsight_inflight_requests"] == 1
    assert "Exception" not in caplog.text


@pytest.mark.parametrize(
    ("sent", "answered"), [(0, MOST_WAITING), (1, MOST_WAITING + 1), (2, MOST_WAITING + 1)]
)
def test_so_many_requests_may_wait_on_a_connection(served, sent, answered):
    refused = 'sparsight_refused_connections_total{reason="malformed"}'
    before = served.metrics()[refused]
    more = MOST_WAITING + sent
    with connect(served) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * more)
        connection.settimeout(1)
        received = b""
        with contextlib.suppress(TimeoutError):
            while part := connection.recv(65536):
                received += part
        assert received.count(b"HTTP/1.1 200 OK") == answered
        assert received.count(b"connection: close") == more - answered
    assert served.metrics()[refused] == before + more - answered
