"""Callers that send images one after the other, and note how each request ended."""

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode

from tests.builders import golden_image, image_bytes

IMAGE = image_bytes(golden_image())
DEADLINE_S = 2.0
GRACE_S = 1.0  # beyond the deadline: for the way there and back, on a busy machine
OK = "200"


@dataclass(frozen=True)
class Seen:
    """How one request ended."""

    began_s: float  # on the clock of time.monotonic
    ended_s: float
    how: str  # "200", "503 backend-unavailable", or refused, cut, hung
    backend: str | None = None
    version: str | None = None
    predictions: str | None = None
    deadline_s: float = DEADLINE_S

    @property
    def took_s(self) -> float:
        """Return the seconds from the request to its end."""
        return self.ended_s - self.began_s


def ask(
    port: int,
    body: bytes = IMAGE,
    path: str = "/detect",
    deadline_s: float = DEADLINE_S,
    headers: Mapping[str, str] | None = None,
    **query: object,
) -> Seen:
    """Send one image on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=deadline_s + 2 * GRACE_S)
    try:
        return ask_on(connection, body, path, deadline_s, headers, **query)
    finally:
        connection.close()


def ask_on(
    connection: http.client.HTTPConnection,
    body: bytes,
    path: str,
    deadline_s: float,
    headers: Mapping[str, str] | None = None,
    **query: object,
) -> Seen:
    """Send one image on a connection; if the connection fails, close it."""
    query = {"timeout_ms": round(1000 * deadline_s), **query}
    began_s = time.monotonic()
    try:
        connection.request("POST", f"{path}?{urlencode(query)}", body, dict(headers or {}))
        answer = connection.getresponse()
        text = answer.read()
        found = _read(answer.status, text)
    except TimeoutError:
        found = ("hung",)
    except ConnectionRefusedError:
        found = ("refused",)
    except (OSError, http.client.HTTPException):
        found = ("cut",)
    if found[0] in ("hung", "refused", "cut"):
        connection.close()
    return Seen(began_s, time.monotonic(), *found, deadline_s=deadline_s)


def _read(status: int, text: bytes) -> tuple[str, ...]:
    try:
        body = json.loads(text)
    except ValueError:
        return (f"{status} of the balancer",)
    if status != 200:
        return (f"{status} {body['type'].rpartition(':')[2]}",)
    problems = [one for one in body.get("results", ()) if "predictions" not in one]
    if problems:
        return (f"{problems[0]['status']} {problems[0]['type'].rpartition(':')[2]}",)
    first = body["results"][0] if "results" in body else body
    return OK, first["model"]["backend"], first["model"]["version"], json.dumps(first["predictions"])


@dataclass
class Callers:
    """Some callers of one kind; each sends its next image a while after the answer to the last."""

    name: str
    port: int
    count: int = 2
    pause_s: float = 0.05
    body: bytes = IMAGE
    deadline_s: float = DEADLINE_S
    query: Mapping[str, object] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(self.count)]

    def __enter__(self) -> "Callers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        timeout_s = self.deadline_s + 2 * GRACE_S
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        while not self._stop.is_set():
            self.seen.append(ask_on(connection, self.body, "/detect", self.deadline_s, **self.query))
            self._stop.wait(self.pause_s)
        connection.close()

    def since(self, moment_s: float) -> list[Seen]:
        """Return the requests that had not ended at a moment, or began later."""
        return [one for one in list(self.seen) if one.ended_s >= moment_s]


def count(seen: Iterable[Seen]) -> Counter[str]:
    """Return how many requests ended in each way."""
    return Counter(one.how for one in seen)
