"""Which requests are refused, with which status and message."""

import asyncio
import re
import socket
import threading
import time

import httpx
import pytest

from tests.builders import golden_image, image_bytes

RED = image_bytes(golden_image())
JPEG = image_bytes(golden_image(), "JPEG")


def refused(answer, status, slug):
    """Check that an answer is a whole problem; return its sentence."""
    problem = answer.json()
    assert answer.status_code == problem["status"] == status, problem
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["type"] == f"urn:sparsight:problem:{slug}"
    assert problem["id"] == answer.headers["x-request-id"]
    return problem["detail"]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"comf": 0.5}, "there is no parameter 'comf'; did you mean 'conf'?"),
        ({"topk": 2}, "did you mean 'top_k'?"),
        ({"conf": 1.01}, "conf=1.01 cannot be used: Lowest confidence to report: a number from 0 to 1"),
        ({"conf": "nan"}, "a number from 0 to 1"),
        ({"iou": -0.01}, "a number from 0 to 1"),
        ({"iou": "much"}, "iou=much cannot be used"),
        ({"max_det": 0}, "a whole number from 1 to 10000"),
        ({"max_det": 10_001}, "a whole number from 1 to 10000"),
        ({"top_k": 5}, "top_k=5 is not allowed; use one of: 1, 2, 3, 4"),
        ({"weight_threshold": 2}, "a number from 0 to 1"),
        ({"classes": "cat"}, "there is no class 'cat'; the classes are red, green, blue"),
        ({"moe": "some"}, "one of summary, full, off"),
        ({"backend": "cuda"}, "one of auto, openvino, onnx, triton"),
        ({"timeout_ms": 0}, "a whole number from 1 to 600000"),
        ({"timeout_ms": 600_001}, "a whole number from 1 to 600000"),
        ({"timeout_ms": "9" * 400}, "a whole number from 1 to 600000"),
        ({"timeout_ms": "9" * 5000}, "a whole number from 1 to 600000"),
        ({"version": "1" * 21}, "Version that GET /models lists as ready"),
        ({"conf": [0.1, 0.2]}, "conf is given 2 times"),
    ],
)
def test_a_wrong_parameter_is_refused_with_what_is_allowed(served, query, words):
    answer = served.client.post("/detect", params=query, content=RED)
    assert words in refused(answer, 422, "invalid-parameter")
    assert answer.json()["errors"][0]["parameter"] == next(iter(query))


@pytest.mark.parametrize("query", [{"conf": 0}, {"conf": 1}, {"iou": 0}, {"iou": 1}, {"max_det": 10_000}])
def test_the_ends_of_a_range_are_allowed(served, query):
    assert served.detect(RED, **query).status_code == 200


def test_a_backend_this_build_lacks_is_refused(served):
    words = refused(served.detect(RED, backend="triton"), 422, "backend-not-offered")
    assert words == "backend 'triton' is not among SPARSIGHT_BACKENDS here; use one of: auto, openvino"


def test_an_unknown_model_is_refused_with_the_known_ones(served):
    words = refused(served.detect(RED, model="huge"), 404, "unknown-model")
    assert words == "there is no model 'huge'; the models are tiny"


def test_an_unknown_version_is_refused_with_the_known_ones(served):
    words = refused(served.detect(RED, version="2"), 404, "unknown-version")
    assert words == "there is no version '2' of model 'tiny'; its versions are 1"
    assert served.detect(RED, version="1").status_code == 200


def test_the_callers_deadline_ends_the_waiting(start, repository, monkeypatch):
    running = start(repository=repository, workers=1)
    answered, waited = threading.Event(), []
    monkeypatch.setattr("service.serving.stages.decode", lambda *_: waited.append(answered.wait(30)))
    words = refused(running.detect(RED, timeout_ms=50), 504, "deadline-exceeded")
    assert not waited, "the image was still being decoded"
    answered.set()
    assert words.startswith("there was no answer within 0.05 s")


def test_an_empty_body_is_refused(served):
    assert "no image bytes" in refused(served.detect(b""), 422, "empty-image")


@pytest.mark.parametrize("data", [b"<svg/>", b"%PDF-1.7", b"hello"])
def test_what_is_not_an_image_is_refused_whatever_it_is_called(served, data):
    answer = served.client.post("/detect", content=data, headers={"Content-Type": "image/png"})
    refused(answer, 415, "unsupported-image")


def test_a_jpeg_cut_anywhere_is_refused(served):
    for length in range(3, len(JPEG), 31):
        refused(served.detect(JPEG[:length]), 422, "undecodable-image")


def test_a_form_with_a_text_field_is_told_where_parameters_go(served):
    answer = served.client.post("/detect", data={"conf": "0.5"}, files={"image": ("a", RED)})
    assert "parameters go into the URL" in refused(answer, 422, "invalid-parameter")


def test_a_form_without_a_file_is_refused(served):
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = served.client.post("/detect", content=b"--x--\r\n", headers=headers)
    refused(answer, 422, "empty-image")


@pytest.mark.parametrize("header", ["multipart/form-data", "multipart/form-data; boundary=x"])
def test_a_broken_form_is_refused(served, header):
    answer = served.client.post("/detect", content=b"not a form", headers={"Content-Type": header})
    refused(answer, 400, "malformed-form")


def test_too_many_files_are_refused(start, repository):
    limited = start(repository=repository, max_files=2)
    two = [("image", (str(i), RED)) for i in range(2)]
    assert limited.client.post("/detect", files=two).status_code == 200
    three = [*two, ("image", ("3", RED))]
    words = refused(limited.client.post("/detect", files=three), 413, "form-too-large")
    assert words.startswith("the form has more than 2 files (SPARSIGHT_MAX_FILES)")


def test_a_body_at_the_limit_is_read_and_one_byte_more_is_not(start, repository):
    limited = start(repository=repository, max_body_bytes=len(RED))
    assert limited.detect(RED).status_code == 200
    refused(limited.detect(RED + b"\x00"), 413, "body-too-large")


def test_a_body_without_a_length_is_counted_while_it_arrives(start, repository):
    limited = start(repository=repository, max_body_bytes=len(RED))
    assert limited.client.post("/detect", content=iter([RED[:100], RED[100:]])).status_code == 200
    refused(limited.client.post("/detect", content=iter([RED, b"\x00"])), 413, "body-too-large")


def test_too_many_pixels_are_refused_by_the_header(start, repository):
    assert start(repository=repository, max_pixels=64 * 64).detect(RED).status_code == 200
    limited = start(repository=repository, max_pixels=64 * 64 - 1)
    assert "4,096 pixels, and the limit is 4,095" in refused(limited.detect(RED), 413, "image-too-large")


def open_slow_request(url):
    """Start a request whose body never comes."""
    host, port = url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)))
    connection.sendall(b"POST /detect HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
    return connection


def test_a_full_service_refuses_at_once_and_serves_again_when_there_is_room(start, repository):
    limited = start(repository=repository, max_inflight=1)
    with open_slow_request(limited.url):
        time.sleep(0.1)
        answer = limited.detect(RED)
        refused(answer, 429, "overloaded")
        assert answer.headers["retry-after"] == "1"
    time.sleep(0.1)
    assert limited.detect(RED).status_code == 200
    assert limited.metrics()['sparsight_requests_rejected_total{reason="overloaded"}'] == 1


def test_a_body_that_does_not_come_is_given_up(start, repository):
    limited = start(repository=repository, body_timeout_s=0.2)
    with open_slow_request(limited.url) as connection:
        assert connection.recv(100).startswith(b"HTTP/1.1 408")


def test_a_caller_who_hangs_up_disturbs_nobody(served):
    open_slow_request(served.url).close()
    time.sleep(0.1)
    assert served.detect(RED).status_code == 200


def test_an_unknown_path_is_a_problem(served):
    assert "nothing at '/nowhere'" in refused(served.client.get("/nowhere"), 404, "not-found")


def test_a_wrong_method_is_told_the_right_one(served):
    answer = served.client.get("/detect")
    assert "use POST" in refused(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "POST"


def test_paths_that_anybody_invents_share_one_label(served):
    for i in range(3):
        served.client.get(f"/invented/{i}")
    assert not [name for name in served.metrics() if "invented" in name]


def test_at_many_times_the_capacity_every_request_is_answered(start, repository):
    limited = start(repository=repository, max_inflight=4)

    async def ask_all():
        async with httpx.AsyncClient(base_url=limited.url, trust_env=False, timeout=20) as client:
            return await asyncio.gather(*(client.post("/detect", content=RED) for _ in range(60)))

    codes = [answer.status_code for answer in asyncio.run(ask_all())]
    assert set(codes) <= {200, 429}
    assert codes.count(200) >= 4


@pytest.mark.parametrize(
    ("path", "quoted"),
    [
        ("/detect?{0}=1&{0}=2", 40),
        ("/detect?{0}=1", 40),
        ("/detect?model={0}", 80),
        ("/detect?classes={0}", 40),
        ("/detect?conf={0}", 40),
        ("/{0}", 199),  # and the slash
    ],
)
def test_a_problem_quotes_only_the_begin_of_what_is_long(served, path, quoted):
    answer = served.client.post(path.format("x" * 5000), content=RED)
    assert max(map(len, re.findall("x+", answer.json()["detail"]))) == quoted
    assert len(answer.content) < 1500
