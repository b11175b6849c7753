"""Segmenters, pose models and detectors of rotated boxes are served: their answers hold more than a box."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from clients.rle import decode_rle, fill_polygons
from service.rest.formats.json import JsonFormat
from tests.builders import golden_image, image_bytes
from tests.integration.service.conftest import serve, wait_until_ready
from tests.shaped_models import CORNERS, MASKS, POINTS, build_shaped

SMALL = image_bytes(golden_image()[::2, ::2])


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    repository = build_shaped(tmp_path_factory.mktemp("shapes"))
    with serve(repository=repository, backends="onnx", default_model="pose") as served:
        assert wait_until_ready(served).status_code == 200, wait_until_ready(served).text
        yield served


def predictions(running, model, **query):
    answer = running.detect(SMALL, model=model, **query)
    assert answer.status_code == 200, answer.text
    return answer.json()["predictions"]


BOX = {"x", "y", "width", "height", "class", "class_id", "confidence"}


def test_a_segmenter_reports_masks_in_the_form_asked_for(running):
    told = predictions(running, "segment")
    assert [set(one) for one in told] == [BOX | {"mask"}] * 2
    assert [(one["x"], one["y"], one["width"], one["height"]) for one in told] == [
        (12, 8, 16, 8),
        (5, 26, 10, 12),
    ]
    for one, mask in zip(told, MASKS, strict=True):
        assert one["mask"]["size"] == [32, 32]
        assert np.array_equal(decode_rle(one["mask"]["counts"], (32, 32)), mask)
    for one, mask in zip(predictions(running, "segment", masks="polygon"), MASKS, strict=True):
        assert np.array_equal(fill_polygons(one["mask"]["polygon"], (32, 32)), mask)
    assert [set(one) for one in predictions(running, "segment", masks="off")] == [BOX] * 2


def test_a_pose_model_reports_named_keypoints_in_pixels_of_the_image(running):
    told = predictions(running, "pose")
    assert [set(one) for one in told] == [BOX | {"keypoints"}] * 2
    for one, points in zip(told, POINTS, strict=True):
        assert [point["name"] for point in one["keypoints"]] == ["nose", "left", "right"]
        rows = [[point["x"], point["y"], point["confidence"]] for point in one["keypoints"]]
        assert np.allclose(rows, points, atol=1e-3)
    assert running.detect(SMALL, model="pose").json()["skeleton"] == [[0, 1], [0, 2]]
    assert running.detect(SMALL, model="pose", conf=1).json()["skeleton"] == [[0, 1], [0, 2]]
    assert "skeleton" not in running.detect(SMALL, model="segment").json()
    models = {row["name"]: row for row in running.client.get("/models").json()["models"]}
    assert models["pose"]["skeleton"] == [[0, 1], [0, 2]]
    assert models["pose"]["keypoints"] == ["nose", "left", "right"]
    assert models["obb"]["keypoints"] is None


def test_rotated_boxes_have_corners_and_degrees_and_are_not_clipped(running):
    told = predictions(running, "obb")
    assert [set(one) for one in told] == [BOX | {"rotation", "corners"}] * 3
    assert [one["rotation"] for one in told] == pytest.approx([0, 90, 135], abs=1e-3)
    assert np.allclose([one["corners"] for one in told], CORNERS, atol=1e-3)
    assert min(x for x, _ in told[2]["corners"]) < 0, "beyond the left edge of the image"


def test_the_service_answers_others_while_it_writes_outlines(running, monkeypatch):
    writing, answered = threading.Event(), threading.Event()
    write = JsonFormat.write

    def write_when_another_was_answered(*args, **options):
        writing.set()
        assert answered.wait(10), "nobody else was answered meanwhile"
        return write(*args, **options)

    monkeypatch.setattr(JsonFormat, "write", write_when_another_was_answered)
    with ThreadPoolExecutor(1) as pool:
        told = pool.submit(predictions, running, "segment", masks="polygon")
        assert writing.wait(10)
        assert running.client.get("/healthz").status_code == 200
        answered.set()
        assert len(told.result()) == 2


@pytest.mark.parametrize("model", ["pose", "obb"])
def test_only_a_segmenter_has_masks(running, model):
    answer = running.detect(SMALL, model=model, masks="rle")
    assert answer.status_code == 422
    assert "masks is not a parameter of model" in answer.json()["detail"]


def test_the_coco_format_holds_masks_and_keypoints_and_refuses_rotated_boxes(running):
    results = running.detect(SMALL, model="segment", format="coco").json()["results"]
    assert [one["segmentation"] for one in results] == [
        one["mask"] for one in predictions(running, "segment")
    ]
    (first, _) = running.detect(SMALL, model="pose", format="coco").json()["results"]
    assert np.allclose(first["keypoints"], POINTS[0].reshape(-1), atol=1e-3)
    answer = running.detect(SMALL, model="obb", format="coco")
    assert (answer.status_code, "no rotated boxes" in answer.json()["detail"]) == (422, True)
    answer = running.detect(SMALL, model="segment", format="coco", masks="polygon")
    assert (answer.status_code, "no holes" in answer.json()["detail"]) == (422, True)
