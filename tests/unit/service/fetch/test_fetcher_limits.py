"""Images are fetched within the limits on bytes and time, and only whole ones; from real servers."""

import asyncio
import threading
import time
from contextlib import suppress

import pytest
from prometheus_client import CollectorRegistry

from service.errors import DeadlineExceeded, FetchTooLarge
from service.fetch.room import Room
from service.metrics import Metrics
from service.request import RequestContext
from tests.fetching import BODY, HEAD, SECRET, failure, fetched, setup
from tests.https_server import ok, repeats, writes

# ---- bytes ---------------------------------------------------------------------------------------------


def test_a_length_at_the_limit_is_fetched_and_over_it_refused_before_any_byte(certificate, ca):
    assert fetched(certificate, ca, writes(ok(BODY)), limit=len(BODY)) == BODY
    started = time.perf_counter()
    announces = writes(HEAD + b"Content-Length: %d\r\n\r\n" % (len(BODY) + 1), then_wait=True)
    assert f"{len(BODY):,} bytes" in failure(certificate, ca, announces, FetchTooLarge)
    assert time.perf_counter() - started < 4  # the time limit is 5


@pytest.mark.parametrize("announced", [True, False])
def test_bytes_are_counted_as_they_come(certificate, ca, announced):
    def chunks(*sizes):
        return b"".join(b"%x\r\n%b\r\n" % (size, b"x" * size) for size in sizes)

    chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    whole = writes(chunked, chunks(500, 500) + b"0\r\n\r\n")
    assert fetched(certificate, ca, whole, limit=1000) == b"x" * 1000
    over = writes(chunked, chunks(500, 501), then_wait=True)
    failure(certificate, ca, over, FetchTooLarge, limit=1000)
    endless = repeats(chunked if announced else HEAD + b"\r\n", chunks(1000))
    failure(certificate, ca, endless, FetchTooLarge, limit=100_000)


def test_bytes_after_the_announced_length_are_not_read(certificate, ca):
    lies = HEAD + b"Content-Length: 5\r\n\r\n"
    assert fetched(certificate, ca, writes(lies + b"image" + SECRET)) == b"image"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(HEAD + b"Content-Length: 100\r\n\r\n" + SECRET, id="cut short"),
        pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nimage\r\n", id="without the last chunk"),
        pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", id="no chunks"),
        pytest.param(HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nimages", id="two lengths"),
        pytest.param(HEAD + b"Content-Length: -5\r\n\r\n", id="a negative length"),
        pytest.param(HEAD + b"Content-Length: " + b"9" * 21 + b"\r\n\r\n", id="a length of 21 digits"),
        pytest.param(SECRET + b"\r\n\r\n", id="no HTTP"),
        pytest.param(HEAD, id="half a head"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_what_is_no_whole_answer_is_no_image(certificate, ca, answer):
    assert "was not fetched" in failure(certificate, ca, writes(answer))


def test_a_head_without_end_is_given_up(certificate, ca):
    answer = repeats(HEAD, b"X-Filler: " + b"x" * 1000 + b"\r\n")
    assert "no whole HTTP answer" in failure(certificate, ca, answer)


@pytest.mark.parametrize("encoding", ["gzip", "br", "GZIP", "identity, gzip"])
def test_a_packed_answer_is_refused(certificate, ca, encoding):
    answer = writes(ok(SECRET, f"Content-Encoding: {encoding}".encode()))
    assert "Content-Encoding" in failure(certificate, ca, answer)


def test_an_answer_that_says_it_is_not_packed_is_fetched(certificate, ca):
    assert fetched(certificate, ca, writes(ok(BODY, b"Content-Encoding: Identity"))) == BODY


@pytest.mark.parametrize("status", [201, 204, 206, 401, 403, 404, 429, 500, 503])
def test_only_a_200_is_an_image(certificate, ca, status):
    answer = writes(ok(SECRET).replace(b"200 OK", b"%d Secret" % status))
    assert f"status {status}" in failure(certificate, ca, answer)


def test_the_images_of_a_request_share_the_room(certificate, ca):
    async def run():
        async with setup(certificate, ca, writes(ok(BODY))) as one:
            context, room = RequestContext.within(20), Room(2 * len(BODY))
            for _ in range(2):
                await one.fetcher.fetch(one.url, context, room)
            with pytest.raises(FetchTooLarge):
                await one.fetcher.fetch(one.url, context, room)
            return one.outcomes()

    assert asyncio.run(run()) == {"fetched": 2, "too-large": 1}


# ---- time ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(writes(then_wait=True), id="no head"),
        pytest.param(writes(HEAD + b"Content-Length: 10\r\n\r\n12345", then_wait=True), id="half a body"),
        pytest.param(repeats(HEAD + b"Content-Length: 1000\r\n\r\n", b"x", 0.02), id="a byte now and then"),
        pytest.param(repeats(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", 0.02), id="hints for ever"),
    ],
)
def test_the_time_limit_is_over_everything(certificate, ca, answer):
    sentence = failure(certificate, ca, answer, timeout_s=0.2)
    assert "within 0.2 s" in sentence


def test_tls_that_does_not_begin_counts_too(ca):
    assert "within 0.2 s" in failure(None, ca, writes(then_wait=True), timeout_s=0.2)


def test_a_lookup_that_hangs_counts_too(certificate, ca):
    hangs = threading.Event()
    try:
        how = {"resolver": lambda host: hangs.wait(30) and [], "timeout_s": 0.1}
        assert "within 0.1 s" in failure(certificate, ca, writes(), **how)
    finally:
        hangs.set()


def test_the_deadline_of_the_request_counts_too(certificate, ca):
    failure(certificate, ca, writes(then_wait=True), DeadlineExceeded, allowed_s=0.1)


def test_no_more_than_allowed_are_fetched_at_once(certificate, ca):
    async def slow(writer):
        await asyncio.sleep(0.1)
        writer.write(ok(BODY))

    async def run():
        async with setup(certificate, ca, slow, max_inflight=2) as one:
            assert await asyncio.gather(*(one.fetch() for _ in range(5))) == [BODY] * 5
            return one.served.most_open

    assert asyncio.run(run()) == 2


def test_who_waits_for_others_is_held_to_the_deadline(certificate, ca):
    async def run():
        async with setup(certificate, ca, writes(then_wait=True), max_inflight=1) as one:
            first = asyncio.create_task(one.fetch())
            await asyncio.sleep(0.05)
            with pytest.raises(DeadlineExceeded):
                await one.fetch(allowed_s=0.1)
            first.cancel()
            with suppress(asyncio.CancelledError):
                await first
            return one.outcomes()

    assert asyncio.run(run()) == {"timeout": 1, "cancelled": 1}


@pytest.mark.parametrize("tls", [True, False])  # without: it is given up before TLS is ready
def test_a_fetch_that_is_cancelled_closes_its_connection(certificate, ca, tls):
    async def run():
        async with setup(certificate if tls else None, ca, writes(then_wait=True)) as one:
            fetching = asyncio.create_task(one.fetch())
            while not one.served.open:
                await asyncio.sleep(0.01)
            fetching.cancel()
            with pytest.raises(asyncio.CancelledError):
                await fetching
            await asyncio.wait_for(one.served.nobody.wait(), 5)
            return one.outcomes()

    assert asyncio.run(run()) == {"cancelled": 1}


def test_every_outcome_is_exported_before_the_first_fetch():
    registry = CollectorRegistry()
    Metrics(registry)
    for outcome in ("fetched", "refused", "failed", "too-large", "timeout", "cancelled"):
        assert registry.get_sample_value("sparsight_fetches_total", {"outcome": outcome}) == 0
