"""Segmenters, pose models and detectors of rotated boxes are served: their answers hold more than a box."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from clients.rle import decode_rle, fill_polygons
from service.rest.formats.json import JsonFormat
from tests.builders import golden_image, image_bytes
from tests.integration.service.conftest import serve, wait_until_ready
from tests.onnx_builders import build_constant

# The source is half as wide and high as the model input of 64 x 64: x_input = 2 * x_source.
SMALL = image_bytes(golden_image()[::2, ::2])
FOUND = {
    "boxes_xyxy": np.array([[[8, 8, 40, 24], [10, 8, 42, 24], [0, 40, 20, 64]]], np.float32),
    "scores": np.array([[0.9, 0.8, 0.7]], np.float32),
    "class_ids": np.array([[1, 1, 2]], np.int32),
}
ANSWER = {
    "det_boxes_xyxy": FOUND["boxes_xyxy"][0, [0, 2]],
    "det_scores": FOUND["scores"][0, [0, 2]],
    "det_class_ids": FOUND["class_ids"][0, [0, 2]],
}
POINTS = np.arange(27, dtype=np.float32).reshape(1, 3, 3, 3) / 27 * [64, 64, 1]


def segmenter(repository):
    """Write a segmenter whose one prototype is positive left of column 20 of the input, and in no other."""
    prototypes = np.full((1, 1, 16, 16), -1, np.float16)
    prototypes[..., :5] = 1  # 0 between the centres of the cells 4 and 5, at column 20
    masks = np.zeros((2, 64, 64), bool)
    masks[0, 8:24, 8:20] = True
    masks[1, 40:64, 0:20] = True
    found = FOUND | {"mask_coefficients": np.ones((1, 3, 1), np.float32), "prototypes": prototypes}
    answer = ANSWER | {"det_masks": np.packbits(masks, axis=-1)}
    return build_constant(repository, "segment", {"mask_stride": 4, "prototypes": 1}, found, answer)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    repository = tmp_path_factory.mktemp("shapes")
    segmenter(repository)
    found = FOUND | {"keypoints": POINTS.astype(np.float32)}
    answer = ANSWER | {"det_keypoints": found["keypoints"][0, [0, 2]]}
    skeleton = {"keypoints": ["nose", "left", "right"], "skeleton": [[0, 1], [0, 2]]}
    build_constant(repository, "pose", skeleton, found, answer)
    # The second box covers the first; turned by a right angle, it shares a smaller part: both are kept.
    found = FOUND | {"angles": np.array([[0, np.pi / 2, -np.pi / 4]], np.float32)}
    answer = {name: FOUND[name[4:]][0] for name in ANSWER}
    build_constant(repository, "obb", {}, found, answer | {"det_angles": found["angles"][0]})
    with serve(repository=repository, backends="onnx", default_model="pose") as served:
        assert wait_until_ready(served).status_code == 200, wait_until_ready(served).text
        yield served


def predictions(running, model, **query):
    answer = running.detect(SMALL, model=model, **query)
    assert answer.status_code == 200, answer.text
    return answer.json()["predictions"]


BOX = {"x", "y", "width", "height", "class", "class_id", "confidence"}


def test_a_segmenter_reports_masks_in_the_form_asked_for(running):
    want = np.zeros((2, 32, 32), bool)
    want[0, 4:12, 4:10] = True
    want[1, 20:32, 0:10] = True
    told = predictions(running, "segment")
    assert [set(one) for one in told] == [BOX | {"mask"}] * 2
    assert [(one["x"], one["y"], one["width"], one["height"]) for one in told] == [
        (12, 8, 16, 8),
        (5, 26, 10, 12),
    ]
    for one, mask in zip(told, want, strict=True):
        assert one["mask"]["size"] == [32, 32]
        assert np.array_equal(decode_rle(one["mask"]["counts"], (32, 32)), mask)
    for one, mask in zip(predictions(running, "segment", masks="polygon"), want, strict=True):
        assert np.array_equal(fill_polygons(one["mask"]["polygon"], (32, 32)), mask)
    assert [set(one) for one in predictions(running, "segment", masks="off")] == [BOX] * 2


def test_a_pose_model_reports_named_keypoints_in_pixels_of_the_image(running):
    told = predictions(running, "pose")
    assert [set(one) for one in told] == [BOX | {"keypoints"}] * 2
    for one, points in zip(told, POINTS[0, [0, 2]] / [2, 2, 1], strict=True):
        assert [point["name"] for point in one["keypoints"]] == ["nose", "left", "right"]
        rows = [[point["x"], point["y"], point["confidence"]] for point in one["keypoints"]]
        assert np.allclose(rows, points, atol=1e-3)
    models = {row["name"]: row for row in running.client.get("/models").json()["models"]}
    assert models["pose"]["skeleton"] == [[0, 1], [0, 2]]
    assert models["pose"]["keypoints"] == ["nose", "left", "right"]
    assert models["obb"]["keypoints"] is None


def test_rotated_boxes_have_corners_and_degrees_and_are_not_clipped(running):
    told = predictions(running, "obb")
    assert [set(one) for one in told] == [BOX | {"rotation", "corners"}] * 3
    assert [one["rotation"] for one in told] == pytest.approx([0, 90, 135], abs=1e-3)
    assert told[0]["corners"] == [[4, 4], [20, 4], [20, 12], [4, 12]]
    assert np.allclose(told[1]["corners"], [[17, 0], [17, 16], [9, 16], [9, 0]], atol=1e-3)
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
    assert np.allclose(first["keypoints"], (POINTS[0, 0] / [2, 2, 1]).reshape(-1), atol=1e-3)
    answer = running.detect(SMALL, model="obb", format="coco")
    assert (answer.status_code, "no rotated boxes" in answer.json()["detail"]) == (422, True)
    answer = running.detect(SMALL, model="segment", format="coco", masks="polygon")
    assert (answer.status_code, "no holes" in answer.json()["detail"]) == (422, True)
