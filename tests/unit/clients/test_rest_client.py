"""The client of the service: what it sends, what it makes of answers and problems, and its time limit."""

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
    NotServed,
    Refused,
    ServerFailed,
    Unavailable,
    Unreachable,
    UnreadableAnswer,
)
from clients.rest import AsyncRestClient, RestClient
from tests.unit.clients.answering import answering

LAYER = {
    "layer": "backbone.p4",
    "experts": 2,
    "active": [1],
    "weights": [1],
    "entropy_bits": 0.5,
    "probabilities": [0.25, 0.75],
}
ANSWER = {
    "id": "01J",
    "model": {
        "name": "tiny",
        "version": "3",
        "sha256": "ab",
        "backend": "openvino",
        "backend_reason": "preferred",
        "precision": "f32",
    },
    "image": {"width": 64, "height": 48},
    "predictions": [
        {"x": 16, "y": 8.5, "width": 32, "height": 5, "class": "red", "class_id": 0, "confidence": 0.9}
    ],
    "moe": {
        "layers": [LAYER],
        "top_k": 2,
        "gflops": {"used": 6.9, "dense": 9.8},
        "degraded": False,
        "routing": "normal",
    },
    "timing_ms": {"decode": 1.5, "total": 31.0},
    "warnings": ["mind"],
}
CLASSES = ANSWER | {"predictions": [{"class": "red", "class_id": 0, "confidence": 0.75}]}


def problem(slug, detail="a sentence", **more):
    return json.dumps({"type": f"urn:sparsight:problem:{slug}", "detail": detail, **more}).encode()


def ask(answer=ANSWER, asking=None, image=b"an image", **client):
    """Ask a server that gives this answer; return the result, path, headers and body."""
    asking = asking or (lambda client: client.detect(image))
    body = json.dumps(answer).encode() if isinstance(answer, dict) else answer
    with answering(body=body) as (address, seen), RestClient(f"http://{address}", **client) as opened:
        found = asking(opened)
    ((path, headers, sent),) = seen
    return found, path, headers, sent


def fails(status, body, headers=()):
    """Return the error that an answer becomes; the request is sent once."""
    with answering(status, body, headers) as (address, seen), RestClient(f"http://{address}") as client:
        with pytest.raises(ClientError) as failed:
            client.detect(b"an image")
        assert len(seen) == 1
    return failed.value


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
        (b"[]", "no JSON object"),
        (b"\xff", "it is not JSON"),
        ({}, "predictions is missing"),
        (ANSWER | {"predictions": [{"class": "red"}]}, r"predictions\[0\].x is missing"),
        (ANSWER | {"moe": None}, "moe is None"),
        (ANSWER | {"moe": ANSWER["moe"] | {"layers": [LAYER | {"active": [0, 1]}]}}, "do not fit"),
        (CLASSES, r"x is missing \(does the model do detect\?\)"),
    ],
)
def test_an_answer_that_cannot_be_read_is_refused(answer, words):
    with pytest.raises(UnreadableAnswer, match=words):
        ask(answer)


# ---- problems -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "slug", "kind"),
    [
        (422, "undecodable-image", BadImage),
        (413, "image-too-large", BadImage),
        (404, "unknown-model", NotServed),
        (429, "overloaded", Busy),
        (503, "not-ready", Unavailable),
        (500, "backend-failed", ServerFailed),
        (418, "of-a-later-release", Refused),
        (429, "of-a-later-release", Busy),
        (599, "of-a-later-release", ServerFailed),
    ],
)
def test_a_problem_becomes_the_error_that_fits_with_the_services_sentence(status, slug, kind):
    error = fails(status, problem(slug))
    assert type(error) is kind
    assert str(error) == "a sentence"


def test_a_wrong_parameter_is_named():
    errors = [{"parameter": "top_k", "detail": "use one of: 1, 2"}]
    error = fails(422, problem("invalid-parameter", errors=errors))
    assert (type(error), error.parameter, str(error)) == (BadParameter, "top_k", "a sentence")
    assert fails(422, problem("backend-not-offered")).parameter == "backend"


@pytest.mark.parametrize(("slug", "kind"), [("backend-busy", Busy), ("backend-unavailable", Unavailable)])
@pytest.mark.parametrize(
    ("header", "wait_s"), [({"Retry-After": "3"}, 3.0), ({}, None), ({"Retry-After": "Mon"}, None)]
)
def test_a_busy_service_says_when_to_come_back(slug, kind, header, wait_s):
    error = fails(503, problem(slug), header)
    assert (type(error), error.retry_after_s) == (kind, wait_s)


def test_a_deadline_is_this_clients_own_but_a_slow_upload_is_the_services():
    assert str(fails(504, problem("deadline-exceeded"))).startswith("no answer within 10 s; give more time")
    error = fails(408, problem("body-timeout"))
    assert (type(error), str(error)) == (DeadlineExceeded, "a sentence")


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (502, Unavailable, "answers with HTTP status 502"),
        (429, Busy, "answers with HTTP status 429"),
        (413, BadImage, "answers with HTTP status 413"),
        (403, Refused, "answers with HTTP status 403"),
        (500, ServerFailed, "answers with HTTP status 500"),
        (308, UnreadableAnswer, "it redirects to https://there"),
    ],
)
def test_what_stands_between_may_answer_without_a_problem(status, kind, words):
    error = fails(status, b"<html>", {"Location": "https://there"})
    assert type(error) is kind
    assert words in str(error)


def test_a_path_without_detection_is_told():
    assert "there is no detection there" in str(fails(404, problem("not-found")))


# ---- the way --------------------------------------------------------------------------------


def test_nobody_listening_is_unreachable():
    client = RestClient("http://127.0.0.1:1")
    with client, pytest.raises(Unreachable, match=r"cannot reach the service at http://127\.0\.0\.1:1: "):
        client.detect(b"x")


def test_a_server_that_hangs_up_is_unreachable():
    assert "the connection broke" in str(fails(None, b""))


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
