"""The client gets a real service's answers, and raises the right error for every problem."""

import asyncio
import contextlib
import io
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from clients.command import main
from clients.errors import BadImage, BadParameter, Busy, DeadlineExceeded, NotServed, Unavailable, WrongTask
from clients.rest import AsyncRestClient, RestClient
from tests.builders import build_artifact, build_classifier, golden_image, image_bytes
from tests.client_package import ROOT
from tests.integration.service.conftest import serve, wait_until_ready
from tests.shaped_models import build_shaped

IMAGE = image_bytes(golden_image())


@pytest.fixture
def client(served):
    with RestClient(served.url) as client:
        yield client


def without_times(answer):
    return {name: value for name, value in answer.items() if name not in ("id", "timing_ms")}


@pytest.mark.parametrize("image", [IMAGE, golden_image()], ids=["a file", "pixels"])
def test_an_answer_is_the_services_number_for_number(client, served, image):
    found = client.detect(image, conf=0.1, top_k=1)
    answer = served.detect(IMAGE, conf=0.1, top_k=1, moe="full").json()
    assert without_times(found.to_dict()) == without_times(answer)
    assert (found.class_names, len(found.experts)) == (("red",), 2)
    assert set(found.service.timing_ms) == set(answer["timing_ms"])
    assert found.boxes_xyxy == pytest.approx(np.array([[4, 4, 36, 36]]), abs=1e-3)


def test_every_parameter_is_one_that_the_service_has(client):
    found = client.detect(IMAGE, conf=0, iou=1, max_det=1, classes=["red", 1], top_k=4, weight_threshold=0.5)
    assert (len(found), found.top_k) == (1, 4)


def test_asyncio_asks_for_many_at_once(served):
    async def ask():
        async with AsyncRestClient(served.url) as client:
            return await asyncio.gather(*(client.detect(IMAGE) for _ in range(4)))

    assert [found.class_names for found in asyncio.run(ask())] == [("red",)] * 4


@pytest.mark.parametrize("image", [b"no image", IMAGE[:-30], image_bytes(golden_image(), "PNG")[:20]])
def test_what_is_no_image_is_refused_by_the_service(client, image):
    with pytest.raises(BadImage):
        client.detect(image)


@pytest.mark.parametrize(
    ("parameter", "asked", "words"),
    [
        ("conf", {"conf": 2}, "a number from 0 to 1"),
        ("max_det", {"max_det": 0}, "a whole number from 1 to 10000"),
        ("classes", {"classes": ["rad"]}, "the classes are red, green, blue"),
        ("top_k", {"top_k": 9}, "use one of: 1, 2, 3, 4"),
        ("tpo_k", {"tpo_k": 1}, "tpo_k"),
    ],
)
def test_a_wrong_parameter_is_named_with_the_services_sentence(client, parameter, asked, words):
    with pytest.raises(BadParameter, match=words) as refused:
        client.detect(IMAGE, **asked)
    assert refused.value.parameter == parameter


def test_models_versions_and_backends_that_are_not_there_are_told(served):
    with (
        RestClient(served.url, model="other") as client,
        pytest.raises(NotServed, match="the models are tiny"),
    ):
        client.detect(IMAGE)
    with RestClient(served.url, version="7") as client, pytest.raises(NotServed, match="no version '7'"):
        client.detect(IMAGE)
    with RestClient(served.url, backend="triton") as client, pytest.raises(BadParameter, match="'triton'"):
        client.detect(IMAGE)


def test_a_detector_that_is_asked_to_classify_says_so(client):
    with pytest.raises(WrongTask, match=r"call detect\(\) instead"):
        client.classify(IMAGE)
    with pytest.raises(BadParameter, match="top"):
        client.classify(IMAGE, top=1)


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """Serve a classifier with experts, which is the default, and one without."""
    repository = tmp_path_factory.mktemp("colours")
    build_classifier(repository)
    build_classifier(repository, name="plain", experts=False)
    with serve(repository=repository) as running:
        assert wait_until_ready(running).status_code == 200
        yield running


@pytest.mark.parametrize("model", ["colours", "plain"])
def test_a_classification_is_the_services_number_for_number(colours, model):
    with RestClient(colours.url, model=model) as client:
        found = client.classify(IMAGE, top=3, classes=["blue", 0])
    answer = colours.detect(IMAGE, model=model, top=3, classes="blue,0", moe="full").json()
    assert without_times(found.to_dict()) == without_times(answer)
    assert found.class_names == ("red", "blue")  # the shares of e^(147.5/32) and e^(37.5/32), green counted
    assert found.scores == pytest.approx([0.8596, 0.0276], abs=1e-4)
    assert [layer.active for layer in found.experts] == ([(0, 3), (1, 2)] if model == "colours" else [])
    assert set(found.service.timing_ms) == set(answer["timing_ms"])


def test_asyncio_classifies_at_the_models_default(colours):
    async def ask():
        async with AsyncRestClient(colours.url) as client:
            return await asyncio.gather(client.classify(IMAGE), client.classify(IMAGE, top_k=1))

    both, one = asyncio.run(ask())
    assert (both.class_names, both.top_k) == (("red", "green"), 2)
    assert [layer.active for layer in one.experts] == [(0,), (2,)]


def test_a_classifier_that_is_asked_to_detect_says_so(colours):
    with RestClient(colours.url) as client:
        with pytest.raises(WrongTask, match=r"call classify\(\) instead"):
            client.detect(IMAGE)
        with pytest.raises(BadParameter, match="conf is not a parameter of model 'colours'") as refused:
            client.detect(IMAGE, conf=0.5)
    assert refused.value.parameter == "conf"


def test_the_command_classifies_at_a_real_service(colours, tmp_path, capsys):
    path = tmp_path / "red.png"
    path.write_bytes(IMAGE)
    assert main(["classify", str(path), "--url", colours.url, "--top", "1"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{path}: 64 x 64 pixels, colours version 1, red most likely",
        "",
        "  class      score",
        "  red        0.860",
        "",
        "  layer        experts that ran      of  router's entropy, bits",
        "  backbone.p4  0 (83%), 3 (17%)       4  1.19 of 2.00",
        "  backbone.p5  1 (23%), 2 (77%)       3  1.08 of 1.58",
        "",
    ]
    assert main(["detect", str(path), "--url", colours.url]) == 1
    assert "use the command classify" in capsys.readouterr().err


def test_the_command_ends_in_silence_when_nobody_reads_on(colours, tmp_path):
    path = tmp_path / "red.png"
    path.write_bytes(IMAGE)
    reader, writer = os.pipe()
    os.close(reader)
    arguments = [sys.executable, "-m", "clients", "classify", str(path), "--url", colours.url]
    ended = subprocess.run(arguments, stdout=writer, stderr=subprocess.PIPE, cwd=ROOT, check=False)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, b"")


def test_a_deadline_is_kept(served):
    with RestClient(served.url, timeout_s=0.0001) as client, pytest.raises(DeadlineExceeded):
        client.detect(IMAGE)


def test_a_service_that_is_full_is_busy(tmp_path):
    async def ask(url):
        async with AsyncRestClient(url) as client:
            return await asyncio.gather(*(client.detect(IMAGE) for _ in range(16)), return_exceptions=True)

    build_artifact(tmp_path)
    with serve(repository=tmp_path, max_inflight=1) as small:
        assert wait_until_ready(small).status_code == 200
        found = asyncio.run(ask(small.url))
    refused = [one for one in found if isinstance(one, Busy)]
    assert refused
    assert all(one.retry_after_s >= 1 for one in refused)


def test_a_service_without_a_model_is_unavailable(tmp_path):
    with serve(repository=tmp_path) as empty:
        client = RestClient(empty.url)
        with client, pytest.raises(Unavailable, match="not ready") as failed:
            client.detect(IMAGE)
    assert failed.value.retry_after_s >= 1


def test_the_readmes_example_runs(served, tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "clients" / "README.md").read_text(), re.DOTALL)
    (block,) = [block for block in blocks if "import RestClient" in block and "client.detect(" in block]
    (tmp_path / "photo.jpg").write_bytes(IMAGE)
    monkeypatch.chdir(tmp_path)
    assert "http://127.0.0.1:8000" in block
    block = block.replace("http://127.0.0.1:8000", served.url).replace("sparsight_client", "clients")
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        exec(compile(block, "README.md", "exec"), {})
    assert re.search(r"^red 0\.\d\d at \d+, \d+ – \d+, \d+$", told.getvalue(), re.MULTILINE)
    assert "backbone.p5: experts (" in told.getvalue()


def test_the_readmes_example_for_asyncio_runs(served, tmp_path, monkeypatch, capsys):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "clients" / "README.md").read_text(), re.DOTALL)
    (block,) = [block for block in blocks if "import AsyncRestClient" in block]
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(IMAGE)
    monkeypatch.chdir(tmp_path)
    block = block.replace("http://127.0.0.1:8000", served.url).replace("sparsight_client", "clients")
    exec(compile(block, "README.md", "exec"), {})
    assert capsys.readouterr().out == "{'a.jpg': 1, 'b.jpg': 1}\n"


@pytest.fixture(scope="module")
def shaped(tmp_path_factory):
    repository = build_shaped(tmp_path_factory.mktemp("shapes"))
    with serve(repository=repository, backends="onnx", default_model="pose") as running:
        assert wait_until_ready(running).status_code == 200
        yield running


@pytest.mark.parametrize(
    ("call", "model", "lines"),
    [
        ("client.segment(", "segment", ["green 0.90 covers 48 pixels", "blue 0.70 covers 120 pixels"]),
        ("client.pose(", "pose", ["blue: nose at 21, 23", "blue: left at 25, 26", "blue: right at 28, 30"]),
        (
            "client.detect_oriented(",
            "obb",
            [
                "green 0.90, turned by 0°: [[4, 4], [20, 4], [20, 12], [4, 12]]",
                "green 0.80, turned by 90°: [[17, 0], [17, 16], [9, 16], [9, 0]]",
                "blue 0.70, turned by 135°: [[13, 27], [6, 34], [-3, 25], [4, 18]]",
            ],
        ),
    ],
)
def test_the_readmes_examples_of_shapes_run(shaped, tmp_path, monkeypatch, capsys, call, model, lines):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "clients" / "README.md").read_text(), re.DOTALL)
    (block,) = [block for block in blocks if call in block]
    (tmp_path / "photo.jpg").write_bytes(image_bytes(golden_image()[::2, ::2]))
    monkeypatch.chdir(tmp_path)
    block = block.replace("http://127.0.0.1:8000", shaped.url).replace("sparsight_client", "clients")
    block, found = re.subn('model="[a-z-]+"', f'model="{model}"', block)
    assert found == 1
    exec(compile(block, "README.md", "exec"), {})
    assert capsys.readouterr().out.splitlines() == lines


@pytest.mark.parametrize("task", ["segment", "pose", "obb"])
def test_the_command_prints_the_json_of_the_service(shaped, tmp_path, capsys, task):
    path = tmp_path / "photo.png"
    path.write_bytes(image_bytes(golden_image()[::2, ::2]))
    assert main([task, str(path), "--url", shaped.url, "--model", task, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["predictions"] == shaped.detect(path.read_bytes(), model=task).json()["predictions"]
