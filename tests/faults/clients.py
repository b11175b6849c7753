"""Faults of clients: slow ones, and those that vanish or say nothing."""

import http.client
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import numpy as np

from tests.builders import build_artifact, image_bytes
from tests.faults.callers import IMAGE, OK, Callers, Seen
from tests.faults.engine import ALL_WELL
from tests.faults.gateway import Gateway
from tests.faults.scene import Fault, Scene

CROWD = 50
SILENT = 500
BODY_TIMEOUT_S = 2.0
LONGEST_S = 10.0  # the gateway's own limit for an answer


@contextmanager
def connected(gateway: Gateway, count: int) -> Iterator[list[socket.socket]]:
    """Open connections; close them at the end."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(socket.create_connection(("127.0.0.1", gateway.port), timeout=LONGEST_S))
            for _ in range(count)
        ]


def head(length: int, path: str = "/detect") -> bytes:
    """Return the head of a request with a body of some bytes."""
    return f"POST {path} HTTP/1.1\r\nHost: gateway\r\nContent-Length: {length}\r\n\r\n".encode()


def how(connection: socket.socket, began_s: float) -> Seen:
    """Wait for an answer; return how the request ended."""
    try:
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        answer.read()
        ended = OK if answer.status == 200 else f"{answer.status}"
    except TimeoutError:
        ended = "hung"
    except (OSError, http.client.HTTPException):
        ended = "cut"
    return Seen(began_s, time.monotonic(), ended, deadline_s=LONGEST_S)


def reset(connection: socket.socket) -> None:
    """Close a connection with a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def client_fault(
    misbehave: Callable[[Scene, Gateway, list[socket.socket]], None], count: int = CROWD
) -> Callable[[Scene], None]:
    """Return a run in which some clients misbehave, and others call meanwhile."""

    def run(scene: Scene) -> None:
        repository = build_artifact(scene.folder / "repository").repository
        settings = {"repository": repository, "body_timeout_s": BODY_TIMEOUT_S}
        with scene.gateway(settings=settings) as gateway, scene.calling(Callers("others", gateway.port)):
            with connected(gateway, count) as connections:
                scene.breaks()
                misbehave(scene, gateway, connections)
            scene.well(lambda: gateway.answers() and gateway.metric("sparsight_inflight_requests") <= 3)

    return run


def send_slowly(scene: Scene, gateway: Gateway, connections: list[socket.socket]) -> None:
    """Send the bodies one byte at a time, too slowly for the time limit of a body."""
    began_s = time.monotonic()
    for connection in connections:
        connection.sendall(head(len(IMAGE)))
    for byte in IMAGE[: round((BODY_TIMEOUT_S + 0.5) / 0.1)]:
        for connection in connections:
            with suppress(OSError):
                connection.sendall(bytes([byte]))
        time.sleep(0.1)
    scene.add("slow", *(how(connection, began_s) for connection in connections))


def read_slowly(scene: Scene, gateway: Gateway, connections: list[socket.socket]) -> None:
    """Ask for answers of some megabytes, and read hardly anything of them."""
    noise = image_bytes(np.random.default_rng(0).integers(0, 256, (1500, 2000, 3), np.uint8), "JPEG")
    for connection in connections:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(head(len(noise), "/detect?format=jpeg") + noise)
    for _ in range(20):
        for connection in connections:
            connection.settimeout(0.01)
            with suppress(OSError):
                connection.recv(16)
        time.sleep(0.1)


def leave_uploads(scene: Scene, gateway: Gateway, connections: list[socket.socket]) -> None:
    """Send half of the bodies, and vanish: every second client with a reset."""
    for number, connection in enumerate(connections):
        connection.sendall(head(len(IMAGE)) + IMAGE[: len(IMAGE) // 2])
        reset(connection) if number % 2 else connection.close()
    time.sleep(1.0)


def leave_answers(scene: Scene, gateway: Gateway, connections: list[socket.socket]) -> None:
    """Ask for large answers, read their begin, and vanish with a reset."""
    noise = image_bytes(np.random.default_rng(0).integers(0, 256, (1500, 2000, 3), np.uint8), "JPEG")
    for connection in connections:
        connection.sendall(head(len(noise), "/detect?format=jpeg") + noise)
    for connection in connections:
        with suppress(OSError):
            connection.recv(100)
        reset(connection)


def say_nothing(scene: Scene, gateway: Gateway, connections: list[socket.socket]) -> None:
    """Keep connections open without a word."""
    time.sleep(2.0)


def half_close(scene: Scene, gateway: Gateway, connections: list[socket.socket]) -> None:
    """Send whole requests, and then close only the sending side."""
    began_s = time.monotonic()
    for connection in connections:
        connection.sendall(head(len(IMAGE)) + IMAGE)
        connection.shutdown(socket.SHUT_WR)
    scene.add("half-closed", *(how(connection, began_s) for connection in connections))


BUSY = {"others": frozenset({OK, "429 overloaded"})}  # ten large images at once are real work
FAULTS = (
    Fault(
        "clients-send-slowly",
        "50 clients send their images one byte at a time",
        ALL_WELL | {"slow": frozenset({"408"})},
        client_fault(send_slowly),
    ),
    Fault(
        "clients-read-slowly",
        "10 clients ask for large answers and hardly read them",
        BUSY,
        client_fault(read_slowly, count=10),
    ),
    Fault(
        "clients-leave-uploads",
        "50 clients vanish in the middle of their images",
        ALL_WELL,
        client_fault(leave_uploads),
    ),
    Fault(
        "clients-leave-answers",
        "10 clients vanish in the middle of their answers",
        BUSY,
        client_fault(leave_answers, count=10),
    ),
    Fault(
        "clients-silent", "500 clients connect and send nothing", ALL_WELL, client_fault(say_nothing, SILENT)
    ),
    Fault(
        "clients-half-closed",
        "20 clients close their sending side before the answer",
        ALL_WELL | {"half-closed": frozenset({OK, "429", "cut"})},
        client_fault(half_close, count=20),
    ),
)
