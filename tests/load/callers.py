"""Sends images to a service at low cost, and measures the answers.

    .venv/bin/python -m tests.load.callers PHOTO.jpg --port 8000 --callers 64
    .venv/bin/python -m tests.load.callers PHOTO.jpg --port 8000 --rate 120

In a closed loop, each caller sends its next image after the answer. In an open loop, images arrive at random
moments, whether or not the service keeps up: the times between arrivals are exponential. An open loop counts
the latency from the planned arrival, so that a request that had to wait for a connection does not look fast.

The load runs before, during and after a window of some seconds. Only requests that start inside the window
count. From Python, `measure` runs the callers in a process of their own, so that they do not wait for the
interpreter of whoever measures.
"""

import argparse
import asyncio
import gc
import json
import random
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import cast

import uvloop

from tests.load.reports import BROKEN, REFUSALS, Load, Report, Request, summarise

ROOT = Path(__file__).resolve().parents[2]
RECONNECT_S = 0.05  # so that callers of a service that has ended do not spin
LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
RETRY_AFTER = re.compile(rb"\r\nretry-after:[ \t]*([0-9.]+)", re.IGNORECASE)


def measure(load: Load) -> Report:
    """Run the callers in a process of their own, and return what they measured."""
    return start(load).report()


class Running:
    """Callers in a process of their own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def report(self) -> Report:
        """Wait for the end of the load, and return what the callers measured.

        Raises:
            RuntimeError: the callers failed.
        """
        printed, _ = self._process.communicate()
        if self._process.returncode:
            raise RuntimeError("the callers failed; see their error above")
        return Report.from_json(printed)


def start(load: Load) -> Running:
    """Start the callers in a process of their own, for loads that run at the same time."""
    flags = [
        f"--{name.replace('_', '-')}={value}" for name, value in asdict(load).items() if name not in FLAGLESS
    ]
    flags += ["--polite"] if load.polite else []
    command = [sys.executable, "-m", "tests.load.callers", "--json", *flags, *load.images]
    return Running(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True))


FLAGLESS = ("images", "polite")


def arrivals(rate: float, seed: int) -> Iterator[float]:
    """Yield the moments of a Poisson process at a rate per second, in seconds from its start."""
    chance, moment_s = random.Random(seed), 0.0
    while True:
        moment_s += chance.expovariate(rate)
        yield moment_s


def request_of(load: Load, image: bytes) -> bytes:
    """Return all bytes of the HTTP request that sends an image."""
    kind, body = "image/jpeg", image
    if load.form_field:
        part = (
            f'--photo\r\nContent-Disposition: form-data; name="{load.form_field}"; filename="photo.jpg"\r\n'
        )
        body = f"{part}Content-Type: image/jpeg\r\n\r\n".encode() + image + b"\r\n--photo--\r\n"
        kind = "multipart/form-data; boundary=photo"
    head = f"POST {load.path} HTTP/1.1\r\nHost: 127.0.0.1:{load.port}\r\nContent-Type: {kind}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Connection(asyncio.Protocol):
    """A connection that carries one request at a time, and reads of an answer only what counts."""

    def __init__(self, callers: "Callers") -> None:
        self._callers = callers
        self._request: Request | None = None
        self._head = b""
        self._left: int | None = None  # bytes of the answer's body that have not arrived
        self._status = BROKEN
        self._retry_after_s: float | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its base class

    def send(self, request: Request, data: bytes, now_s: float) -> None:
        """Send a request; the callers hear of the answer."""
        assert self.transport is not None
        self._request, request.sent_s = request, now_s
        self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        if self._request is None:
            return  # an answer that nobody waits for, such as 408 on an idle connection
        if self._left is None:
            self._head += data
            head, mark, data = self._head.partition(b"\r\n\r\n")
            if not mark:
                return
            length, retry_after = LENGTH.search(head), RETRY_AFTER.search(head)
            if length is None:
                self._callers.fail(f"an answer has no Content-Length: {head[:200]!r}")
                return
            self._status, self._left, self._head = int(head[9:12]), int(length[1]), b""
            self._retry_after_s = float(retry_after[1]) if retry_after else None
        self._left -= len(data)
        if self._left <= 0:
            request, self._request, self._left = self._request, None, None
            self._callers.answered(self, request, self._status, self._retry_after_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        request, self._request = self._request, None
        self._callers.lost(self, request)


class Callers:
    """The callers of one load, inside a running event loop."""

    def __init__(self, load: Load) -> None:
        """Read the images and build the requests."""
        self._load = load
        self._data = [request_of(load, Path(image).read_bytes()) for image in load.images]
        self._loop = asyncio.get_running_loop()
        self._idle: list[Connection] = []
        self._opening: set[asyncio.Task[None]] = set()
        self._requests: list[Request] = []
        self._connections: list[Connection] = []
        self._over = self._loop.create_future()

    async def run(self) -> Report:
        """Run the load, and return what was measured."""
        load = self._load
        used_s, started_s = cpu_s(), self._loop.time()
        if load.callers:
            for _ in range(load.callers):
                self._begin(started_s)
        else:
            moments = arrivals(load.rate, load.seed)
            self._arrive(started_s, moments, started_s + next(moments))
        self._loop.call_later(load.before_s + load.seconds + load.deadline_s, self._end)
        await self._over
        ended_s = self._loop.time()
        share = (cpu_s() - used_s) / (ended_s - started_s)
        for task in self._opening:
            task.cancel()
        for connection in self._connections:
            if connection.transport is not None:
                connection.transport.abort()
        return summarise(
            self._requests, load, started_s + load.before_s, ended_s, len(self._connections), share
        )

    def fail(self, reason: str) -> None:
        """End the load with an error."""
        if not self._over.done():
            self._over.set_exception(RuntimeError(reason))

    def answered(
        self, connection: Connection, request: Request, status: int, retry_after_s: float | None
    ) -> None:
        """Note an answer, and let the caller of a closed loop come back."""
        now_s = self._loop.time()
        request.status, request.latency_s = status, now_s - request.planned_s
        request.told_when = retry_after_s is not None and status in REFUSALS
        if connection.transport is not None:
            self._idle.append(connection)
        if self._load.callers:
            self._come_back(now_s, retry_after_s if self._load.polite and request.told_when else None)

    def lost(self, connection: Connection, request: Request | None) -> None:
        """Forget a connection that was closed, and note that its request, if any, has no answer."""
        if connection in self._idle:
            self._idle.remove(connection)
        if request is not None:
            self._broken(request)

    def _end(self) -> None:
        if not self._over.done():
            self._over.set_result(None)

    def _arrive(self, started_s: float, moments: Iterator[float], due_s: float) -> None:
        """Send all requests that are due, and wait for the next."""
        if self._over.done():
            return
        while due_s <= self._loop.time():
            self._begin(due_s)
            due_s = started_s + next(moments)
        self._loop.call_at(due_s, self._arrive, started_s, moments, due_s)

    def _come_back(self, now_s: float, pause_s: float | None) -> None:
        if self._over.done():
            return
        if pause_s:
            self._loop.call_later(pause_s, lambda: self._come_back(self._loop.time(), None))
        else:
            self._begin(now_s)

    def _begin(self, planned_s: float) -> None:
        """Send the next image on an idle connection, or on a new one."""
        data = self._data[len(self._requests) % len(self._data)]
        request = Request(planned_s)
        self._requests.append(request)
        if self._idle:
            self._idle.pop().send(request, data, self._loop.time())
        else:
            task = self._loop.create_task(self._open(request, data))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self, request: Request, data: bytes) -> None:
        try:
            _, connection = await self._loop.create_connection(
                lambda: Connection(self), "127.0.0.1", self._load.port
            )
        except OSError:
            self._broken(request)
            return
        self._connections.append(connection)
        if connection.transport is None:  # accepted and closed at once
            self._broken(request)
        else:
            connection.send(request, data, self._loop.time())

    def _broken(self, request: Request) -> None:
        if self._over.done():
            return
        now_s = self._loop.time()
        request.status, request.latency_s = BROKEN, now_s - request.planned_s
        if self._load.callers:
            self._come_back(now_s, RECONNECT_S)


def cpu_s() -> float:
    """Return the processor time of this process, in seconds."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def run_load(load: Load) -> Report:
    """Run a load in this event loop, and return what was measured."""
    return await Callers(load).run()


def main() -> int:
    """Run the load of the command line, and print what was measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("images", nargs="+", help="image files, sent in turns")
    add("--port", type=int, required=True)
    add("--callers", type=int, default=0, help="closed loop: number of callers")
    add("--rate", type=float, default=0.0, help="open loop: images per second")
    add("--polite", action="store_true", help="refused callers come back after Retry-After, not at once")
    add("--seconds", type=float, default=5.0, help="of the window (default: %(default)s)")
    add("--before-s", type=float, default=1.0, help="load before the window (default: %(default)s)")
    add("--deadline-s", type=float, default=1.0, help="a later 200 is not good (default: %(default)s)")
    add("--path", default="/detect", help="with the query (default: %(default)s)")
    add("--form-field", default="", help="send the image as this field of a form")
    add("--seed", type=int, default=0, help="of the arrivals (default: %(default)s)")
    add("--json", action="store_true", help="print the report as JSON")
    args = parser.parse_args()
    if (args.callers > 0) == (args.rate > 0):
        parser.error("give either --callers or --rate")
    values = {field.name: getattr(args, field.name) for field in fields(Load)}
    load = Load(**values | {"images": tuple(args.images)})
    # Thousands of connections may be open if the service does not keep up.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    gc.disable()  # a pause of the callers would look like one of the service
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        report = runner.run(run_load(load))
    print(json.dumps(asdict(report)) if args.json else report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
