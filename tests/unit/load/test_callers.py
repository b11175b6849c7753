"""The callers of the load tests, against a small server whose answers and delays are known."""

import asyncio
import itertools
import statistics
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import cast

import pytest

from tests.load.callers import arrivals, measure, run_load
from tests.load.reports import BROKEN, Load, Request, percentile, summarise

CLOSE = 0  # the server closes the connection without an answer


@dataclass
class Server:
    """A server that answers the n-th request with the n-th status and delay, over and over."""

    answers: tuple[tuple[int, float], ...]  # status and delay in seconds
    retry_after: str = ""
    port: int = 0
    bodies: Counter[bytes] = field(default_factory=Counter)
    heads: list[bytes] = field(default_factory=list)
    given: Counter[int] = field(default_factory=Counter)
    connections: int = 0
    most_at_once: int = 0
    _now: int = 0

    def __post_init__(self) -> None:
        self._turns = itertools.cycle(self.answers)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                self.heads.append(head)
                self.bodies[await reader.readexactly(length)] += 1
                status, delay_s = next(self._turns)
                self._now += 1
                self.most_at_once = max(self.most_at_once, self._now)
                await asyncio.sleep(delay_s)
                self._now -= 1
                self.given[status] += 1
                if status == CLOSE:
                    return
                retry = f"Retry-After: {self.retry_after}\r\n" if status != 200 and self.retry_after else ""
                # In pieces that do not end where the head or the body ends.
                writer.write(f"HTTP/1.1 {status} Some Reason\r\n{retry}content-le".encode())
                await asyncio.sleep(0)
                writer.write(b"ngth: 10\r\n\r\n01234")
                await asyncio.sleep(0)
                writer.write(b"56789")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(*answers: tuple[int, float], retry_after: str = "") -> AsyncIterator[Server]:
    served = Server(answers, retry_after)
    listener = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    served.port = listener.sockets[0].getsockname()[1]
    async with listener:
        yield served
        await asyncio.sleep(0.02)  # for the connections that the callers closed


@pytest.fixture
def images(tmp_path: Path) -> tuple[str, ...]:
    paths = tuple(tmp_path / name for name in ("a.jpg", "b.jpg"))
    for path, content in zip(paths, (b"first", b"second" * 100_000), strict=True):
        path.write_bytes(content)
    return tuple(map(str, paths))


def test_open_loop_counts_every_answer_of_every_planned_arrival(images: tuple[str, ...]) -> None:
    async def run() -> None:
        async with serving((200, 0.02), (200, 0.7), (429, 0.0), (500, 0.0)) as server:
            report = await run_load(
                Load(server.port, images, rate=60, seconds=2, before_s=0, deadline_s=0.4, seed=3)
            )
        planned = list(itertools.takewhile(lambda moment: moment < 2.4, arrivals(60, 3)))
        counted = sum(moment < 2 for moment in planned)
        assert sum(report.statuses.values()) + report.waiting == report.started == counted
        assert report.sent == len(planned) == server.bodies.total()
        assert server.bodies[b"first"] - server.bodies[b"second" * 100_000] == len(planned) % 2
        # The server counts the requests as they arrive, which is not always the planned order.
        assert report.statuses[429] == pytest.approx(counted / 4, abs=1)
        assert report.statuses[500] == pytest.approx(counted / 4, abs=1)
        assert report.good == pytest.approx(counted / 4, abs=1)  # those of 0.02 s only
        assert report.goodput == report.good / 2
        assert len(report.accepted_ms) == report.statuses[200] + report.waiting
        assert 20 <= report.accepted_ms[0] < 400
        assert report.accepted_ms[-1] >= 700
        assert len(report.refused_ms) == report.statuses[429]
        assert report.refused_ms[-1] < 400

    asyncio.run(run())


def test_open_loop_opens_connections_when_all_are_busy(images: tuple[str, ...]) -> None:
    async def run() -> None:
        async with serving((200, 0.5)) as server:
            report = await run_load(
                Load(server.port, images[:1], rate=100, seconds=1, before_s=0.2, deadline_s=0.8)
            )
        # Little's law: 100 arrivals/s that each take 0.5 s keep about 50 connections busy.
        # One more may be opened while an answer is on its way back.
        assert report.connections == server.connections >= server.most_at_once
        assert 35 <= report.connections <= 75
        assert report.statuses == {200: len(report.accepted_ms)}

    asyncio.run(run())


def test_arrivals_are_a_poisson_process() -> None:
    moments = list(itertools.islice(arrivals(50, seed=1), 20_000))
    gaps = [later - sooner for sooner, later in itertools.pairwise([0.0, *moments])]
    assert statistics.mean(gaps) == pytest.approx(1 / 50, rel=0.03)
    assert statistics.stdev(gaps) == pytest.approx(1 / 50, rel=0.03)  # of exponential gaps, equal to the mean
    assert sum(gap > 1 / 50 for gap in gaps) / len(gaps) == pytest.approx(0.3679, abs=0.012)
    assert moments[:5] == list(itertools.islice(arrivals(50, seed=1), 5))
    assert moments[0] != next(arrivals(50, seed=2))


def test_closed_loop_keeps_every_caller_busy(images: tuple[str, ...]) -> None:
    async def run() -> None:
        async with serving((200, 0.1)) as server:
            report = await run_load(Load(server.port, images, callers=5, seconds=1.5, before_s=0.2))
        assert server.most_at_once == report.connections == 5
        # A caller that waits 0.1 s for each answer makes at most 10 requests/s, and little less.
        assert 40 <= report.goodput <= 50
        assert 40 <= report.rate <= 50
        assert report.statuses == {200: report.good}
        assert 100 <= percentile(report.accepted_ms, 0.5) <= 125

    asyncio.run(run())


def test_refused_callers_come_back_at_once_or_after_retry_after(images: tuple[str, ...]) -> None:
    async def run() -> None:
        reports = []
        for polite in (False, True):
            async with serving((429, 0.01), retry_after="0.5") as server:
                load = Load(server.port, images[:1], callers=3, polite=polite, seconds=2, before_s=0)
                reports.append(await run_load(load))
        hasty, polite_report = reports
        # In turns of at least 0.51 s, a polite caller starts at 0, 0.51, 1.02 and 1.53 s.
        assert polite_report.statuses == {429: 12}
        assert polite_report.told_when == 12
        assert hasty.statuses[429] > 20 * 12
        assert hasty.goodput == 0
        assert 10 <= percentile(hasty.refused_ms, 0.5) < 20

    asyncio.run(run())


def test_broken_connections_are_counted_and_replaced(images: tuple[str, ...]) -> None:
    async def run() -> None:
        async with serving((200, 0.01), (CLOSE, 0.01)) as server:
            report = await run_load(Load(server.port, images[:1], callers=1, seconds=1, before_s=0))
        assert abs(report.statuses[BROKEN] - report.statuses[200]) <= 1
        assert report.statuses[BROKEN] > 5
        assert report.connections == pytest.approx(server.given[CLOSE], abs=1)

    asyncio.run(run())


def test_an_answer_without_length_is_an_error(images: tuple[str, ...]) -> None:
    async def run() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
            writer.close()

        listener = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with listener:
            with pytest.raises(RuntimeError, match="Content-Length"):
                await run_load(Load(listener.sockets[0].getsockname()[1], images[:1], callers=1))

    asyncio.run(run())


def test_callers_in_a_process_of_their_own_report_the_same(images: tuple[str, ...]) -> None:
    async def run() -> None:
        async with serving((200, 0.02), (503, 0.02), retry_after="1") as server:
            load = Load(
                server.port, images, callers=2, seconds=1, before_s=0.2, path="/x?y=1", form_field="image"
            )
            report = await asyncio.to_thread(measure, load)
        assert server.heads[0].startswith(b"POST /x?y=1 HTTP/1.1\r\nHost: 127.0.0.1:")
        parts = set()
        for body in server.bodies:
            form = message_from_bytes(server.heads[0].partition(b"\r\n")[2] + body)
            assert form.get_content_type() == "multipart/form-data"
            for part in cast(list[Message], form.get_payload()):
                name = part.get_param("name", header="Content-Disposition")
                parts.add((name, part.get_filename(), part.get_payload(decode=True)))
        assert parts == {("image", "photo.jpg", b"first"), ("image", "photo.jpg", b"second" * 100_000)}
        assert abs(report.statuses[200] - report.statuses[503]) <= 1
        assert report.told_when == report.statuses[503] == len(report.refused_ms)
        assert 0 < report.cpu_share < 0.5
        assert report.seconds == 1

    asyncio.run(run())


def test_only_requests_that_start_in_the_window_count() -> None:
    load = Load(1, ("a.jpg",), callers=1, seconds=10, before_s=1, deadline_s=2)
    requests = [
        Request(99.0, 99.0),  # before the window, and still waiting at the end
        Request(99.9, 99.9, 200, 1.0),  # before the window
        Request(100.0, 100.0, 200, 1.0),
        Request(101.0, 101.5, 200, 2.0),
        Request(102.0, 102.0, 200, 2.5),  # late
        Request(103.0, 103.0, 429, 0.004, told_when=True),
        Request(103.5, 103.5, 503, 0.006),
        Request(104.0, 104.0, 504, 0.5),
        Request(105.0, status=BROKEN, latency_s=0.1),
        Request(109.0, 109.0),  # not answered before the end
        Request(110.0, 110.0, 200, 1.0),  # after the window
    ]
    report = summarise(requests, load, window_s=100.0, ended_s=112.0, connections=2, cpu_share=0.1)
    assert report.statuses == {200: 3, 429: 1, 503: 1, 504: 1, BROKEN: 1}
    assert report.goodput == 0.2
    assert report.rate == 0.4  # arrived in the window: also the one that was sent before it
    assert report.accepted_ms == (1000, 2000, 2500, 3000, 13000)
    assert report.refused_ms == (4, 6)
    assert (report.waiting, report.told_when, report.late_ms) == (2, 1, 500)
    assert (report.started, report.sent) == (8, 11)


@pytest.mark.parametrize(("share", "value"), [(0.0, 1), (0.5, 5), (0.51, 6), (0.9, 9), (0.99, 10), (1.0, 10)])
def test_percentile_is_the_nearest_rank(share: float, value: float) -> None:
    assert percentile(list(range(1, 11)), share) == value
    assert percentile([], share) != percentile([], share)  # NaN
