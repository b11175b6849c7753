"""A client that does not read its answers is disconnected, so that it keeps no place in the service."""

import socket
import time

from service.server import protocol

ASKED = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 400  # answers of 40 kB: more than sockets hold


def test_a_client_that_does_not_read_its_answers_keeps_no_place(start, repository, monkeypatch):
    monkeypatch.setattr(protocol, "UNREAD_S", 1.0)
    running = start(repository=repository)
    host, port = running.url.removeprefix("http://").split(":")
    seen, began = [], time.monotonic()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(20)
        connection.connect((host, int(port)))
        connection.sendall(ASKED)
        while seen[-2:] != [2, 1]:  # an answer that waits and the request for the metrics; only the latter
            seen.append(running.metrics()["sparsight_inflight_requests"])
            time.sleep(0.1)
            assert time.monotonic() - began < 15, seen
    assert seen.count(2) > 3
