"""Mutated files and requests keep the structure that gets them past the first checks."""

from random import Random

import pytest

from tests.fuzz.mutate_images import (
    join_jpeg,
    join_png,
    join_riff,
    mutate_image,
    split_jpeg,
    split_png,
    split_riff,
)
from tests.fuzz.mutate_requests import Seeds, make
from tests.fuzz.promises import BrokenPromise
from tests.fuzz.replies import check_reply, documented, read_reply
from tests.fuzz.seeds import image_seeds

SEEDS = image_seeds()
TEXT = b"HTTP/1.1 404 Not Found\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nno"


@pytest.mark.parametrize(
    ("name", "split", "join"),
    [
        ("PNG colour", split_png, join_png),
        ("PNG animated", split_png, join_png),
        ("JPEG progressive", split_jpeg, join_jpeg),
        ("JPEG turned", split_jpeg, join_jpeg),
        ("WEBP animated", split_riff, join_riff),
    ],
)
def test_the_parts_of_a_file_make_the_same_file_again(name, split, join):
    assert len(split(SEEDS[name])) > 1
    assert join(split(SEEDS[name])) == SEEDS[name]


def test_the_same_number_gives_the_same_mutation():
    seeds = list(SEEDS.values())

    def mutated(number):
        return [mutate_image(seed, Random(number), seeds, 16_384) for seed in seeds]

    assert mutated(1) == mutated(1)
    assert sum(map(bytes.__eq__, mutated(1), seeds)) < len(seeds) / 4
    assert all(len(data) <= 16_384 for data in mutated(1))


def test_requests_are_of_all_kinds():
    seeds = Seeds(list(SEEDS.values()), [b"conf=0.5"], [(b"application/json", b'{"image": ""}')])
    random = Random(1)
    made = [make(random, seeds) for _ in range(1500)]
    assert {len(sent.routes) for sent in made} == {1, 2, 4}
    routes = {route for sent in made for route in sent.routes}
    assert {None, ("POST", "/detect"), ("POST", "/preview"), ("GET", "/models")} <= routes
    assert routes - {None} <= set(documented())


def test_an_answer_is_read_with_what_follows_it():
    reply, rest = read_reply(TEXT + TEXT, has_body=True)
    assert (reply.status, reply.body, rest) == (404, b"no", TEXT)
    assert read_reply(TEXT[:-1], has_body=True) is None
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    reply, rest = read_reply(chunked, has_body=True)
    assert (reply.body, rest) == (b"ok", b"")


@pytest.mark.parametrize(
    "broken", [b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", b"rubbish", b"HTTP/1.1 99 No\r\n\r\n"]
)
def test_what_is_no_http_is_a_finding(broken):
    with pytest.raises(BrokenPromise):
        read_reply(broken, has_body=True)


@pytest.mark.parametrize(
    ("status", "hurried", "fine"),
    [(500, True, False), (503, True, False), (504, True, True), (504, False, False), (418, False, False)],
)
def test_a_status_that_is_not_documented_is_a_finding(status, hurried, fine):
    problem = f'{{"type": "t", "title": "t", "detail": "d", "id": "i", "status": {status}}}'.encode()
    head = f"HTTP/1.1 {status} X\r\nx-request-id: i\r\ncontent-type: application/problem+json\r\n"
    data = f"{head}content-length: {len(problem)}\r\n\r\n".encode() + problem
    reply, _ = read_reply(data, has_body=True)
    route = ("POST", "/detect")
    if fine:
        check_reply(reply, route, documented()[route], hurried=hurried)
    else:
        with pytest.raises(BrokenPromise, match=str(status)):
            check_reply(reply, route, documented()[route], hurried=hurried)
