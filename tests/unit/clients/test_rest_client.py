"""RestClient: its requests, its results, its errors, and its time limit."""

import asyncio
import json
import threading
import time

import cv2
import numpy as np
import pytest

from clients.errors import (
    BadImage,
    BadParameter,
    Busy,
    ClientError,
    DeadlineExceeded,
    NotInstalled,
    Unreachable,
    UnreadableAnswer,
    WrongTask,
)
from clients.rest import AsyncRestClient, RestClient
from tests.unit.clients.answering import ANSWER, CLASSES, LAYER, answering, problem


def ask(answer=ANSWER, asking=None, image=b"an image", **client):
    """Ask a server that gives this answer; return the result, path, headers and body."""
    asking = asking or (lambda client: client.detect(image))
    body = json.dumps(answer).encode() if isinstance(answer, dict) else answer
    with answering(body=body) as (address, seen), RestClient(f"http://{address}", **client) as opened:
        found = asking(opened)
    ((path, headers, sent),) = seen
    return found, path, headers, sent


def query_of(path):
    return dict(part.split("=") for part in path.partition("?")[2].split("&"))


# ---- what is sent ---------------------------------------------------------------------------


def test_bytes_are_sent_as_they_are_and_the_time_limit_with_them():
    _, path, headers, sent = ask()
    assert path.startswith("/detect?")
    assert sent == b"an image"
    assert headers["Content-Type"] == "application/octet-stream"
    query = query_of(path)
    assert 9_000 < int(query.pop("timeout_ms")) <= 10_000
    assert query == {"moe": "full"}


def test_pixels_are_sent_as_png_without_loss():
    pixels = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    _, _, _, sent = ask(image=pixels)
    assert sent.startswith(b"\x89PNG")
    decoded = cv2.imdecode(np.frombuffer(sent, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert np.array_equal(decoded, pixels)


def test_parameters_and_the_model_are_in_the_query():
    _, path, _, _ = ask(
        asking=lambda client: client.detect(
            b"x", conf=0.5, iou=0, max_det=7, classes=["red", 2], top_k=1, weight_threshold=None
        ),
        model="cells",
        backend="triton",
        version="3",
        timeout_s=3600,
    )
    query = query_of(path)
    assert query == {
        "model": "cells",
        "backend": "triton",
        "version": "3",
        "conf": "0.5",
        "iou": "0",
        "max_det": "7",
        "classes": "red%2C2",
        "top_k": "1",
        "moe": "full",
        "timeout_ms": "600000",  # the most that the service takes
    }


@pytest.mark.parametrize(("classes", "sent"), [("red", "red"), (2, "2"), ((0,), "0")])
def test_one_class_may_stand_alone(classes, sent):
    _, path, _, _ = ask(asking=lambda client: client.detect(b"x", classes=classes))
    assert query_of(path)["classes"] == sent


def test_a_classification_has_parameters_of_its_own():
    found, path, _, _ = ask(CLASSES, lambda client: client.classify(b"x", top=3, classes=[0, "red"], top_k=1))
    query = query_of(path)
    assert (query["top"], query["classes"], query["top_k"]) == ("3", "0%2Cred", "1")
    assert [(one.class_name, one.class_id, one.score) for one in found] == [("red", 0, 0.75)]


def test_a_url_may_have_a_path():
    with answering(body=json.dumps(ANSWER).encode()) as (address, seen):
        with RestClient(f"http://{address}/under/this/") as client:
            client.detect(b"x")
        assert seen[0][0].startswith("/under/this/detect?")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8000",
        "ftp://host",
        "http://",
        "http://host:port",
        "http://host:0",
        "http://h?x=1",
        "http://h#x",
    ],
)
@pytest.mark.parametrize("make", [RestClient, AsyncRestClient])
def test_a_url_that_is_none_is_refused(make, url):
    with pytest.raises(BadParameter, match="write http://host:port") as refused:
        make(url)
    assert refused.value.parameter == "url"


@pytest.mark.parametrize("make", [RestClient, AsyncRestClient])
def test_a_proxy_of_the_environment_that_cannot_be_used_is_told(monkeypatch, make):
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    with pytest.raises(NotInstalled, match="SOCKS"):
        make("http://host")
    monkeypatch.setenv("ALL_PROXY", "gopher://127.0.0.1:1")
    with pytest.raises(BadParameter, match="proxy in the environment variables, cannot be used"):
        make("http://host")


def test_an_environments_proxy_is_asked(monkeypatch):
    with answering(body=json.dumps(ANSWER).encode()) as (address, seen):
        monkeypatch.setenv("HTTP_PROXY", f"http://{address}")
        with RestClient("http://service.example") as client:
            assert len(client.detect(b"x")) == 1
    assert seen[0][0].startswith("http://service.example/detect?")


@pytest.mark.parametrize("image", [b"", bytearray(), "photo.jpg", None, np.zeros((4, 4), np.uint8)])
def test_what_is_no_image_is_not_sent(image):
    with RestClient("http://127.0.0.1:1") as client, pytest.raises(BadImage):
        client.detect(image)


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf")])
def test_a_time_limit_is_above_0(timeout_s):
    client = RestClient("http://127.0.0.1:1", timeout_s=timeout_s)
    with client, pytest.raises(BadParameter, match="timeout_s"):
        client.detect(b"x")


# ---- answers --------------------------------------------------------------------------------


def test_an_answer_becomes_boxes_and_experts():
    found, *_ = ask()
    (one,) = found
    assert (one.class_name, one.class_id, one.score) == ("red", 0, pytest.approx(0.9))
    assert one.box_xyxy == (0, 6, 32, 11)
    assert (found.model.name, found.model.version, found.model.backend) == ("tiny", "3", "openvino")
    assert (found.image_hw, found.top_k, found.routing) == ((48, 64), 2, "normal")
    (layer,) = found.experts
    assert (layer.layer, layer.active, layer.weights) == ("backbone.p4", (1,), (1.0,))
    assert (layer.probabilities, layer.entropy_bits) == ((0.25, 0.75), 0.5)
    assert (found.service.id, found.service.used_gflops, found.service.degraded) == ("01J", 6.9, False)
    assert (found.service.warnings, found.service.timing_ms["total"]) == (("mind",), 31.0)


def test_an_answer_is_told_on_as_it_came():
    assert ask()[0].to_dict() == ANSWER
    assert ask(CLASSES, lambda client: client.classify(b"x"))[0].to_dict() == CLASSES


def test_a_model_without_experts_and_an_image_without_objects_are_answers():
    moe = ANSWER["moe"] | {"layers": [], "top_k": None}
    found, *_ = ask(ANSWER | {"moe": moe, "predictions": [], "warnings": []})
    assert (len(found), found.experts, found.top_k) == (0, (), None)
    assert found.boxes_xyxy.shape == (0, 4)


def test_what_a_later_service_adds_is_no_matter():
    found, *_ = ask(ANSWER | {"more": 1, "model": ANSWER["model"] | {"more": 1}})
    assert len(found) == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"<html>", "it is not JSON"),
        (b"[]", "not a JSON object"),
        (b"\xff", "it is not JSON"),
        ({}, "predictions is missing"),
        (
            ANSWER | {"predictions": [*ANSWER["predictions"], {"class": "red"}]},
            r"predictions\[1\].x is missing",
        ),
        (ANSWER | {"moe": None}, "moe is None"),
        (ANSWER | {"moe": ANSWER["moe"] | {"layers": [LAYER | {"active": [0, 1]}]}}, "do not fit"),
    ],
)
def test_an_answer_that_cannot_be_read_is_refused(answer, words):
    with pytest.raises(UnreadableAnswer, match=words):
        ask(answer)


def test_an_answer_of_another_task_says_which_call_is_the_models_own():
    with pytest.raises(WrongTask, match=r"'tiny' is for the task 'classify'; call classify\(\) instead"):
        ask(CLASSES)
    for objects in (ANSWER, ANSWER | {"predictions": []}):  # a classifier always tells a class
        with pytest.raises(WrongTask, match=r"call detect\(\) instead"):
            ask(objects, lambda client: client.classify(b"x"))


# ---- the way --------------------------------------------------------------------------------


def test_nobody_listening_is_unreachable():
    client = RestClient("http://127.0.0.1:1")
    with client, pytest.raises(Unreachable, match=r"cannot reach the service at http://127\.0\.0\.1:1: "):
        client.detect(b"x")


@pytest.mark.parametrize("body", [b"{}", [b" "] * 100], ids=["silent", "a little at a time"])
def test_a_server_that_is_too_slow_is_left(body):
    left = threading.Event()
    with answering(body=body, wait=lambda: left.wait(0.05 if isinstance(body, list) else 10)) as (address, _):
        started = time.monotonic()
        client = RestClient(f"http://{address}", timeout_s=0.2)
        with client, pytest.raises(DeadlineExceeded, match=r"within 0\.2 s"):
            client.detect(b"x")
        assert time.monotonic() - started < 1
        left.set()


def test_a_closed_client_says_so():
    client = RestClient("http://127.0.0.1:1")
    client.close()
    with pytest.raises(ClientError, match="is closed"):
        client.detect(b"x")


# ---- asyncio --------------------------------------------------------------------------------


def ask_async(address, call, **settings):
    async def run():
        async with AsyncRestClient(f"http://{address}", **settings) as client:
            return await call(client)

    return asyncio.run(run())


def test_async_sends_and_reads_the_same():
    with answering(body=json.dumps(ANSWER).encode()) as (address, seen):
        found = ask_async(address, lambda client: client.detect(b"x", conf=0.5, top_k=1), model="cells")
    assert found.to_dict() == ANSWER
    query = query_of(seen[0][0])
    assert (query["conf"], query["top_k"], query["model"]) == ("0.5", "1", "cells")


def test_async_classifies():
    with answering(body=json.dumps(CLASSES).encode()) as (address, _):
        found = ask_async(address, lambda client: client.classify(np.zeros((2, 2, 3), np.uint8), top=1))
    assert found.class_names == ("red",)


def test_async_asks_for_many_at_once():
    gate = threading.Barrier(3)  # no answer before three have come
    with answering(body=json.dumps(ANSWER).encode(), wait=lambda: gate.wait(10)) as (address, seen):

        async def three(client):
            return await asyncio.gather(*(client.detect(b"x") for _ in range(3)))

        assert len(ask_async(address, three)) == 3
    assert len(seen) == 3


@pytest.mark.parametrize("body", [b"{}", [b" "] * 100], ids=["silent", "a little at a time"])
def test_async_leaves_a_server_that_is_too_slow(body):
    left = threading.Event()
    with answering(body=body, wait=lambda: left.wait(0.05 if isinstance(body, list) else 10)) as (address, _):
        with pytest.raises(DeadlineExceeded, match=r"within 0\.2 s"):
            ask_async(address, lambda client: client.detect(b"x"), timeout_s=0.2)
        left.set()


def test_async_failures_are_those_of_the_other():
    with pytest.raises(Unreachable):
        ask_async("127.0.0.1:1", lambda client: client.detect(b"x"))
    busy = answering(429, problem("overloaded"), {"Retry-After": "2"})
    with busy as (address, _), pytest.raises(Busy) as failed:
        ask_async(address, lambda client: client.detect(b"x"))
    assert failed.value.retry_after_s == 2


def test_a_closed_async_client_says_so():
    async def closed(client):
        await client.close()
        await client.detect(b"x")

    with pytest.raises(ClientError, match="is closed"):
        ask_async("127.0.0.1:1", closed)
