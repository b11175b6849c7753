"""On a real Triton, the client's masks, keypoints and rotated boxes are those of the gateway's answers."""

import asyncio
import json
import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from clients.command import main
from clients.errors import BadParameter, ManifestMismatch, Refused
from clients.rle import decode_rle
from clients.tasks.segment import SegmentParams
from clients.transport import Deadline
from clients.triton import AsyncTritonClient, TritonClient
from clients.triton_grpc import GrpcTransport
from clients.triton_http import HttpTransport
from tests.integration.service.conftest import serve, wait_until_ready
from tests.training_builders import shaped_model
from tests.triton_server import start_triton
from tests.unit.training.export.artifact.test_bundle import PROVENANCE, tinted_scenes
from training.export.artifact.bundle import export_model
from training.export.targets.build import ExportImages
from training.export.targets.options import ExportOptions

pytestmark = pytest.mark.heavy

TASKS = {"segment": "segment", "pose": "pose", "obb": "detect_oriented"}
PHOTOS = ("china.jpg", "grace_hopper.jpg")  # one is wider than high, one higher than wide
CONF, MOST = 0.5, 40


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder, images = tmp_path_factory.mktemp("shapes"), tinted_scenes()
    for task in TASKS:
        export_model(
            shaped_model(task),
            folder,
            task,
            ExportImages(images, images),
            targets=["openvino"],
            options=ExportOptions(execution="sparse"),
            provenance=PROVENANCE,
        )
    return folder


@pytest.fixture(scope="module")
def server(repository):
    with start_triton(repository) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(repository):
    with serve(repository=repository, default_model="pose") as running:
        assert wait_until_ready(running).status_code == 200
        yield running


@pytest.fixture(scope="module")
def photos():
    root = os.environ.get("SPARSIGHT_DATA")
    if not root:
        pytest.skip("SPARSIGHT_DATA is not set: it names the folder with the real photographs")
    return [(Path(root) / "photos" / name).read_bytes() for name in PHOTOS]


def by_grpc(server, task, image, **asked):
    with TritonClient(server.grpc_url, model=task) as client:
        return getattr(client, TASKS[task])(image, **asked)


def by_http(server, task, image, **asked):
    with TritonClient(server.http_url, model=task, protocol="http") as client:
        return client.predict(image, **asked)


def by_asyncio(server, task, image, **asked):
    async def ask():
        async with AsyncTritonClient(server.grpc_url, model=task) as client:
            return await getattr(client, TASKS[task])(image, **asked)

    return asyncio.run(ask())


WAYS = {"grpc": by_grpc, "http": by_http, "asyncio": by_asyncio}


def numbers(rows, *names):
    return np.array([[row[name] for name in names] for row in rows]).reshape(-1, len(names))


def assert_same_masks(got, want, image_hw):
    assert [row["mask"]["size"] for row in got] == [list(image_hw)] * len(want)
    covered = 0
    for one, other in zip(got, want, strict=True):
        mask, expected = (decode_rle(row["mask"]["counts"], image_hw) for row in (one, other))
        union = (mask | expected).sum()
        assert (mask & expected).sum() >= 0.999 * union
        covered += union
    assert covered > image_hw[0] * image_hw[1] / 10


def assert_same_keypoints(got, want):
    for one, other in zip(got, want, strict=True):
        assert [point["name"] for point in one["keypoints"]] == ["nose", "left", "right"]
        points, expected = (numbers(row["keypoints"], "x", "y", "confidence") for row in (one, other))
        np.testing.assert_allclose(points[:, :2], expected[:, :2], atol=0.5)
        np.testing.assert_allclose(points[:, 2], expected[:, 2], atol=1e-3)


def assert_same_corners(got, want):
    for one, other in zip(got, want, strict=True):
        turned = math.radians(one["rotation"] - other["rotation"])
        half = abs(one["rotation"] - other["rotation"]) > 90  # 0 and 180 degrees are the same
        sides = (one["width"], one["height"])
        assert abs(math.remainder(turned, math.pi)) * max(sides) < 0.5
        corners = np.roll(one["corners"], 2 * half, axis=0)
        np.testing.assert_allclose(corners, other["corners"], atol=0.5)


def assert_same(found, answer, task):
    """Compare with an answer of POST /detect: 0.5 pixels of photographs 10 times as large as the input."""
    assert answer.status_code == 200, answer.text
    ours, theirs = found.to_dict(), answer.json()
    assert ours["image"] == theirs["image"]
    assert ours.get("skeleton") == theirs.get("skeleton")
    got, want = ours["predictions"], theirs["predictions"]
    assert [set(row) for row in got] == [set(row) for row in want]
    assert [row["class"] for row in got] == [row["class"] for row in want]
    names = ("x", "y", "width", "height")
    np.testing.assert_allclose(numbers(got, *names), numbers(want, *names), atol=0.5)
    np.testing.assert_allclose(numbers(got, "confidence"), numbers(want, "confidence"), atol=1e-3)
    assert [layer["active"] for layer in ours["moe"]["layers"]] == [
        layer["active"] for layer in theirs["moe"]["layers"]
    ]
    match task:
        case "segment":
            assert_same_masks(got, want, found.image_hw)
        case "pose":
            assert_same_keypoints(got, want)
        case "obb":
            assert_same_corners(got, want)
    return len(got)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("task", TASKS)
def test_photographs_get_the_gateways_answers(server, gateway, photos, task, way):
    count = 0
    for photo in photos:
        found = WAYS[way](server, task, photo, conf=CONF, max_det=MOST)
        assert min(found.image_hw) * 1.15 < max(found.image_hw), "the photograph needs padding"
        answer = gateway.detect(photo, model=task, conf=CONF, max_det=MOST, moe="full")
        count += assert_same(found, answer, task)
    assert count > 10


@pytest.mark.parametrize(
    "asked",
    [{"classes": "ring", "max_det": 7}, {"conf": "0.5,disc:0.6", "iou": 0.3}, {"top_k": 2}],
    ids=str,
)
@pytest.mark.parametrize("task", TASKS)
def test_options_mean_what_they_mean_to_the_gateway(server, gateway, photos, task, asked):
    asked = {"conf": CONF, "max_det": MOST} | asked
    found = by_grpc(server, task, photos[0], **asked)
    assert assert_same(found, gateway.detect(photos[0], model=task, moe="full", **asked), task)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("task", TASKS)
def test_nothing_found_is_an_empty_result(server, photos, task, way):
    found = WAYS[way](server, task, photos[0], conf=1.0)
    assert (len(found), found.predictions()) == (0, [])


def test_masks_can_be_left_out(server, photos):
    found = by_http(server, "segment", photos[0], conf=CONF, masks="off")
    assert len(found)
    assert "mask" not in found.predictions()[0]
    with pytest.raises(BadParameter, match="needs the service"):
        by_grpc(server, "segment", photos[0], masks="polygon")


def test_triton_refuses_images_that_are_too_large_for_masks(server):
    line = np.zeros((2, 100_001, 3), np.uint8)
    with pytest.raises(Refused, match=r"image_height and image_width are \[2, 100001\]; give both"):
        by_grpc(server, "segment", line)
    assert by_grpc(server, "segment", line, masks="off").image_hw == (2, 100_001)


@pytest.mark.parametrize(
    "stated",
    [{"image_height": 48}, {"image_width": 64}, {"image_height": 0, "image_width": 64}],
    ids=["no width", "no height", "no rows"],
)
def test_triton_refuses_half_a_size(server, stated):
    with TritonClient(server.grpc_url, model="segment") as client:
        asked = SegmentParams().ask(np.zeros((48, 64, 3), np.uint8), client.manifest())
    for transport in (GrpcTransport(server.grpc_url, None), HttpTransport(server.http_url, None)):
        with pytest.raises(Refused, match="give both, whole numbers from 1 to 100000"):
            transport.infer(asked.model, asked.tensors, asked.outputs, Deadline(10), stated)
        transport.close()


def test_the_command_draws_and_prints_what_triton_found(server, photos, tmp_path, capsys):
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(photos[0])
    for task in TASKS:
        asked = ["triton", str(photo), "--url", server.grpc_url, "--model", task, "--conf", str(CONF)]
        assert main([*asked, "--json", "--save", str(tmp_path / task)]) == 0
        told = json.loads(capsys.readouterr().out)
        found = by_grpc(server, task, photos[0], conf=CONF).to_dict()
        assert [set(row) for row in told["predictions"]] == [set(row) for row in found["predictions"]]
        assert (tmp_path / task / "photo.jpg.drawn.png").stat().st_size > 10_000


def test_an_ensemble_of_an_older_export_does_not_fit(repository, photos, tmp_path):
    shutil.copytree(repository, tmp_path / "old")
    for task, output in (("segment", "masks"), ("pose", "keypoints")):
        name = f"{task}-openvino-detect"
        path = tmp_path / "old" / name / "config.pbtxt"
        text = path.read_text()
        for kind in ("name", "value"):
            assert text.count(f'  {kind}: "{output}"') == 1
            text = text.replace(f'  {kind}: "{output}"', f'  {kind}: "old_{output}"')
        path.write_text(text)
    with start_triton(tmp_path / "old") as server:
        for task in ("segment", "pose"):
            with pytest.raises(ManifestMismatch, match=f"{task}-openvino-detect: the answer lacks"):
                by_http(server, task, photos[0])
