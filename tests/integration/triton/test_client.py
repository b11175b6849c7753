"""On a real Triton, the client gives the same answers as the gateway, and an error for each failure."""

import asyncio
import contextlib
import io
import json
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from clients.command import main
from clients.errors import (
    BadImage,
    BadParameter,
    ClientError,
    DeadlineExceeded,
    NotServed,
    Unreachable,
)
from clients.triton import AsyncTritonClient, TritonClient
from clients.version_1 import upgrade
from tests.client_package import install_client
from tests.integration.service.conftest import serve, wait_until_ready
from tests.triton_server import ROOT

PROTOCOLS = ("grpc", "http")


@pytest.fixture(scope="module")
def gateway(project_repository):
    with serve(repository=project_repository) as running:
        assert wait_until_ready(running).status_code == 200
        yield running


@pytest.fixture(params=PROTOCOLS)
def direct(request, triton):
    with open_client(triton, request.param) as client:
        yield client


def open_client(server, protocol, **settings):
    url = server.grpc_url if protocol == "grpc" else server.http_url
    return TritonClient(url, protocol=protocol, **settings)


def assert_same(found, answer):
    """Compare with an answer of POST /detect: 0.5 px, 1e-3 of score and weight, the same experts."""
    ours, theirs = found.to_dict(), answer.json()
    assert answer.status_code == 200, theirs
    assert ours["image"] == theirs["image"]
    for name in ("name", "version", "sha256", "precision"):
        assert ours["model"][name] == theirs["model"][name]
    names = ("x", "y", "width", "height", "confidence")
    rows, wanted = (
        np.array([[one[name] for name in names] for one in each["predictions"]]).reshape(-1, 5)
        for each in (ours, theirs)
    )
    assert rows.shape == wanted.shape
    assert [one["class"] for one in ours["predictions"]] == [one["class"] for one in theirs["predictions"]]
    # Two builds of one engine compute these, so the last digits may differ.
    for sign in (-1, 1):
        corners, want = (each[:, :2] + sign * each[:, 2:4] / 2 for each in (rows, wanted))
        assert corners == pytest.approx(want, abs=0.5)
    assert rows[:, 4] == pytest.approx(wanted[:, 4], abs=1e-3)
    layers, expected = ours["moe"]["layers"], theirs["moe"]["layers"]
    assert [layer["layer"] for layer in layers] == [layer["layer"] for layer in expected]
    assert [layer["active"] for layer in layers] == [layer["active"] for layer in expected]
    for layer, want in zip(layers, expected, strict=True):
        assert layer["weights"] == pytest.approx(want["weights"], abs=1e-3)
        assert layer["probabilities"] == pytest.approx(want["probabilities"], abs=1e-3)
        assert layer["entropy_bits"] == pytest.approx(want["entropy_bits"], abs=1e-2)


# ---- the gateway's answers ------------------------------------------------------------------


def test_real_photographs_get_the_gateways_answers(direct, gateway, real_images):
    found = [direct.detect(image) for image in real_images]
    assert sum(map(len, found)) > 50  # so this compared something
    for one, image in zip(found, real_images, strict=True):
        assert_same(one, gateway.detect(image, moe="full"))


@pytest.mark.parametrize(
    "wishes",
    [
        {"top_k": 1},
        {"top_k": 4, "weight_threshold": 0.2},
        {"conf": 0.05, "iou": 0.3, "max_det": 5},
        {"conf": 0.05, "classes": "Platelets,2", "max_det": 2},
        {"conf": 1.0},
    ],
    ids=str,
)
def test_options_mean_what_they_mean_to_the_gateway(direct, gateway, real_images, wishes):
    classes = wishes["classes"].split(",") if "classes" in wishes else None
    found = direct.detect(real_images[0], **(wishes | {"classes": classes}))
    assert_same(found, gateway.detect(real_images[0], moe="full", **wishes))


def test_a_graph_that_returns_every_anchor_is_asked_in_the_same_way(triton, project_repository):
    folder = project_repository / "twin-npu" / "1"
    manifest = json.loads((folder / "manifest.json").read_text())
    golden = np.load(folder / "golden.npz")
    with open_client(triton, "grpc", model="twin", target="npu") as client:
        found = client.detect(golden["image"], conf=upgrade(manifest)["golden"]["params"]["conf"]).to_dict()
    wanted = [manifest["class_names"][class_id] for class_id in golden["det_class_ids"]]
    assert [one["class"] for one in found["predictions"]] == wanted
    assert wanted
    active = [np.flatnonzero(gate).tolist() for gate in golden["gates"][0]]
    assert [one["active"] for one in found["moe"]["layers"]] == active


def test_threads_share_a_client(direct, real_images):
    alone = [direct.detect(image).to_dict() for image in real_images]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda image: direct.detect(image).to_dict(), real_images * 2))
    assert [len(each["predictions"]) for each in together] == [len(each["predictions"]) for each in alone * 2]
    for each, want in zip(together, alone * 2, strict=True):
        assert [layer["active"] for layer in each["moe"]["layers"]] == [
            layer["active"] for layer in want["moe"]["layers"]
        ]


def test_asyncio_asks_for_many_at_once(triton, gateway, real_images):
    few = real_images[:3]  # of more, some may wait for longer than the queue's two seconds on a busy machine

    async def ask():
        async with AsyncTritonClient(triton.grpc_url) as client:
            return await asyncio.gather(*(client.detect(image) for image in few))

    for found, image in zip(asyncio.run(ask()), few, strict=True):
        assert_same(found, gateway.detect(image, moe="full"))


def test_a_cancelled_call_leaves_the_client_usable(triton, real_images):
    async def ask():
        async with AsyncTritonClient(triton.grpc_url) as client:
            await client.detect(real_images[0])
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.detect(real_images[0]), 0.005)  # a call takes 15 ms or more
            return await client.detect(real_images[0])

    assert len(asyncio.run(ask()))


def test_the_readmes_example_runs(triton, real_images, tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "clients" / "README.md").read_text(), re.DOTALL)
    (block,) = [block for block in blocks if "import TritonClient" in block]
    (tmp_path / "photo.jpg").write_bytes(real_images[0])
    monkeypatch.chdir(tmp_path)
    assert "127.0.0.1:8001" in block
    block = block.replace("127.0.0.1:8001", triton.grpc_url).replace("sparsight_client", "clients")
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        exec(compile(block, "README.md", "exec"), {})
    found = json.loads(told.getvalue())
    assert {"RBC"} <= {one["class"] for one in found["predictions"]} <= {"RBC", "WBC"}


def test_the_installed_command_asks_triton(triton, real_images, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(real_images[0])
    installed = install_client(tmp_path / "installed")
    for protocol, url in (("grpc", triton.grpc_url), ("http", triton.http_url)):
        arguments = ("triton", "photo.jpg", "--url", url, "--protocol", protocol, "--json")
        done = installed.command(*arguments, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout)["predictions"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_command_prints_a_table(triton, real_images, tmp_path, capsys, protocol):
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(real_images[0])
    url = triton.grpc_url if protocol == "grpc" else triton.http_url
    assert main(["triton", str(photo), "--url", url, "--protocol", protocol]) == 0
    told = capsys.readouterr().out
    assert "starter version 1" in told
    assert "RBC" in told
    assert "backbone.p5" in told


# ---- failures -------------------------------------------------------------------------------


def test_an_unknown_model_is_not_served(triton, real_images):
    for protocol in PROTOCOLS:
        client = open_client(triton, protocol, model="nothing")
        with client, pytest.raises(NotServed, match="does not serve nothing-openvino "):
            client.detect(real_images[0])


def test_an_answer_that_takes_too_long_is_not_waited_for(triton, real_images):
    for protocol in PROTOCOLS:
        client = open_client(triton, protocol, timeout_s=0.005)
        with client, pytest.raises(DeadlineExceeded, match=r"within 0\.005 s"):
            client.detect(real_images[0])


def test_a_bad_image_and_bad_parameters_are_told_before_anything_is_sent(direct, real_images):
    with pytest.raises(BadImage):
        direct.detect(real_images[0][:5000])
    with pytest.raises(BadParameter, match=r"use one of: .*1, 2, 3, 4"):
        direct.detect(real_images[0], top_k=5)
    with pytest.raises(BadParameter, match=r"there is .*RBC"):
        direct.detect(real_images[0], classes=["cat"])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nobody_listening_is_unreachable(protocol):
    client = TritonClient("127.0.0.1:1", protocol=protocol)
    with client, pytest.raises(Unreachable, match=r"127\.0\.0\.1:1"):
        client.detect(np.zeros((8, 8, 3), np.uint8))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_port_of_the_other_protocol_is_told_from_a_working_one(triton, protocol):
    url = triton.http_url if protocol == "grpc" else triton.grpc_url
    client = TritonClient(url, protocol=protocol, timeout_s=5)
    with client, pytest.raises(ClientError, match="port belongs to the protocol"):
        client.detect(np.zeros((8, 8, 3), np.uint8))
