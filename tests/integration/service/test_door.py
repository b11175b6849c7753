"""What comes when the queue is full is refused before its body is read, and the preferred is still served."""

import asyncio
import gzip
import re
import socket
import time

import httpx
import numpy as np

from tests.builders import golden_image, image_bytes

# Shorter than the server's 5 s, so that no connection ends at the moment when the client uses it again.
LIMITS = httpx.Limits(keepalive_expiry=2)
SMALL = image_bytes(golden_image())
SLOW = image_bytes(np.zeros((3000, 3000, 3), np.uint8))  # takes long to decode, and is a small file


def ask_at_once(url, count, **query):
    async def ask():
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=20) as client:
            posts = (client.post("/detect", params=query, content=SLOW) for _ in range(count))
            return await asyncio.gather(*posts)

    return asyncio.run(ask())


def test_images_that_would_wait_too_long_are_refused_and_told_when_to_come_back(start, repository):
    limited = start(repository=repository, workers=1, max_queue_s=0.1, max_inflight=1000)
    ask_at_once(limited.url, 2)  # the service learns how long they take
    answers = ask_at_once(limited.url, 40)
    refused = [answer for answer in answers if answer.status_code == 429]
    served = [answer for answer in answers if answer.status_code == 200]
    assert len(refused) + len(served) == 40
    assert refused
    assert served
    for answer in refused:
        assert "would wait" in answer.json()["detail"]
        assert "SPARSIGHT_MAX_QUEUE_S" in answer.json()["detail"]
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.headers["x-request-id"] == answer.json()["id"]
    reason = 'sparsight_requests_rejected_total{reason="overloaded"}'
    assert limited.metrics()[reason] == len(refused)
    # No served image waited much longer than was allowed.
    assert max(answer.json()["timing_ms"]["queue"] for answer in served) < 1000


def test_preferred_images_are_served_while_others_are_refused(start, repository):
    limited = start(repository=repository, workers=1, max_inflight=1000)
    ask_at_once(limited.url, 2)

    async def ask():
        async with httpx.AsyncClient(
            base_url=limited.url, trust_env=False, timeout=20, limits=LIMITS
        ) as client:
            crowded = True

            async def ask_on():
                codes = []
                while crowded:
                    answer = await client.post("/detect", params={"priority": "low"}, content=SLOW)
                    codes.append(answer.status_code)
                return codes

            crowd = [asyncio.ensure_future(ask_on()) for _ in range(20)]
            await asyncio.sleep(0.5)
            preferred = [
                await client.post("/detect", params={"priority": "high"}, content=SLOW) for _ in range(5)
            ]
            crowded = False
            codes = [code for each in await asyncio.gather(*crowd) for code in each]
            return codes, [answer.status_code for answer in preferred]

    codes, preferred = asyncio.run(ask())
    assert codes.count(429) > 5
    assert codes.count(200) > 0  # they are not starved either
    assert preferred == [200] * 5


def test_a_body_over_the_bytes_in_flight_is_refused_from_its_header(start, repository):
    limited = start(repository=repository, max_inflight_bytes=1000)
    host, port = limited.url.removeprefix("http://").split(":")
    head = b"POST /detect HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
    with (
        socket.create_connection((host, int(port))) as first,
        socket.create_connection((host, int(port))) as second,
    ):
        first.sendall(head % 600)
        second.settimeout(5)
        asyncio.run(asyncio.sleep(0.1))
        second.sendall(head % 401)
        answer = second.recv(2000)
        assert answer.startswith(b"HTTP/1.1 429")
        assert b"SPARSIGHT_MAX_INFLIGHT_BYTES" in answer


def test_a_packed_body_counts_as_the_largest_that_it_may_become(start, repository):
    limited = start(repository=repository, max_inflight_bytes=1000)
    packed = {"content": gzip.compress(SMALL), "headers": {"Content-Encoding": "gzip"}}
    assert limited.client.post("/detect", **packed).status_code == 200  # alone, every body is taken
    host, port = limited.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as first:
        first.sendall(b"POST /detect HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        while limited.metrics()["sparsight_inflight_requests"] < 2:
            time.sleep(0.01)
        assert len(packed["content"]) < 900
        answer = limited.client.post("/detect", **packed)
        assert answer.status_code == 429
        assert "SPARSIGHT_MAX_INFLIGHT_BYTES" in answer.text


def test_an_image_that_could_not_be_answered_in_time_is_refused_and_not_started(start, repository):
    limited = start(repository=repository, workers=1, max_queue_s=10, max_inflight=1000)
    ask_at_once(limited.url, 2)
    answers = ask_at_once(limited.url, 40, timeout_ms=300)
    sentences = [answer.json()["detail"] for answer in answers if answer.status_code == 429]
    assert sentences
    assert all(re.search(r"longer than the 0\.[0-3]\d* s that are left for it", one) for one in sentences)
