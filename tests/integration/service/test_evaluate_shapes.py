"""Running services for segmentation, poses and oriented boxes are measured by `evaluate --url`."""

import json
import math

import pytest

from tests.builders import golden_image, image_bytes
from tests.integration.service.conftest import serve, wait_until_ready
from tests.shaped_models import POINTS, build_shaped
from training.__main__ import main

# Half as wide and high as the model input: x_input = 2 * x_source. The models find in every image:
GREEN, BLUE = (4, 4, 16, 8), (0, 20, 10, 12)  # x, y, width, height in source pixels
NAMES = ["nose", "left", "right"]


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    repository = build_shaped(tmp_path_factory.mktemp("measured"))
    with serve(repository=repository, backends="onnx", default_model="pose") as served:
        assert wait_until_ready(served).status_code == 200, wait_until_ready(served).text
        yield served


@pytest.fixture
def measured(running, tmp_path, capsys):
    """Return a function that measures a model on annotations of one image, and returns the report."""

    def measure(model, annotations, *, keypoints=None, status=0):
        (tmp_path / "annotations").mkdir(exist_ok=True)
        (tmp_path / "val").mkdir(exist_ok=True)
        (tmp_path / "val" / "a.png").write_bytes(image_bytes(golden_image()[::2, ::2]))
        names = {1: "blue", 2: "green"}  # the model has red, green and blue
        categories = [{"id": number, "name": name} for number, name in names.items()]
        for each in categories if keypoints else ():
            each["keypoints"] = keypoints
        document = {
            "images": [{"id": 1, "file_name": "a.png", "height": 32, "width": 32}],
            "categories": categories,
            "annotations": [{"id": 1 + place, "image_id": 1, **row} for place, row in enumerate(annotations)],
        }
        (tmp_path / "annotations" / "instances_val.json").write_text(json.dumps(document))
        argv = ["evaluate", "--url", running.url, "--model", model, "--data", str(tmp_path), "--quiet"]
        plots = ["--plots", str(tmp_path / "plots")]
        assert main([*argv, "--split", "val", "--json", *plots]) == status
        said = capsys.readouterr()
        return json.loads(said.out) if status == 0 else said.err

    return measure


def annotation(name, bbox, **more):
    """One annotation; its area is that of the box."""
    class_ids = {"blue": 1, "green": 2}
    return {"category_id": class_ids[name], "bbox": list(bbox), "area": bbox[2] * bbox[3], **more}


def rectangle(x, y, width, height):
    """A polygon along the edges of pixels."""
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def test_a_segmenter_is_measured_by_its_masks(measured, tmp_path):
    # The model's masks end at column 10. Of the blue one, the upper 8 of 12 rows are labelled: an IoU of 2/3.
    rows = [
        annotation("green", GREEN, segmentation=rectangle(4, 4, 6, 8)),
        annotation("blue", BLUE, segmentation=rectangle(0, 20, 10, 8)),
    ]
    found = measured("segment", rows)
    assert found["map50_by_class"] == pytest.approx({"blue": 1, "green": 1})
    assert found["map50_95_by_class"] == pytest.approx({"blue": 0.4, "green": 1})
    assert found["metric"] == "mask mAP"
    assert found["box"]["map50_95"] == pytest.approx(1)
    matrix = (tmp_path / "plots" / "confusion_matrix.csv").read_text().splitlines()
    assert matrix[1:] == ["red,0,0,0,0", "green,0,1,0,0", "blue,0,0,1,0", "background,0,0,0,0"]


def test_a_pose_model_is_measured_by_its_keypoints(measured):
    # 0.05 is the spread of every keypoint, since the data states none.
    points = POINTS.copy()
    points[..., 2] = 2
    away = math.sqrt(-math.log(0.77) * 2 * BLUE[2] * BLUE[3] * (2 * 0.05) ** 2)
    points[1, :, 0] += away  # an OKS of 0.77
    rows = [
        annotation(name, box, keypoints=each.ravel().tolist(), num_keypoints=3)
        for name, box, each in zip(("green", "blue"), (GREEN, BLUE), points, strict=True)
    ]
    found = measured("pose", rows, keypoints=NAMES)
    assert found["map50_95_by_class"] == pytest.approx({"blue": 0.6, "green": 1})
    assert found["metric"] == "OKS mAP"
    assert found["box"]["map50_95"] == pytest.approx(1)
    for others in (["nose", "right", "left"], ["nose", "left"]):
        cut = [{**row, "keypoints": row["keypoints"][: 3 * len(others)]} for row in rows]
        message = measured("pose", cut, keypoints=others, status=1)
        assert f"keypoints {others}, but the model has {NAMES}" in message


def test_a_model_of_oriented_boxes_is_measured_by_their_corners(measured):
    turned = [[17, 0, 17, 16, 9, 16, 9, 0]]
    cos = math.sqrt(0.5)
    half_width, half_height = (4.1 * cos, -4.1 * cos), (6 * cos, 6 * cos)  # 8.2 instead of 10 pixels wide
    signs = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    slanted = [
        5 + a * half_width[0] + b * half_height[0]
        if axis == 0
        else 26 + a * half_width[1] + b * half_height[1]
        for a, b in signs
        for axis in (0, 1)
    ]
    rows = [
        annotation("green", GREEN, segmentation=rectangle(*GREEN)),
        annotation("green", (9, 0, 8, 16), segmentation=turned),
        annotation("blue", (0, 18, 13, 14), segmentation=[slanted]),
    ]
    found = measured("obb", rows)
    assert found["map50_95_by_class"] == pytest.approx({"blue": 0.7, "green": 1})
    assert found["metric"] == "rotated mAP"
    assert "box" not in found


def test_labels_without_what_the_model_finds_are_refused(measured):
    assert "keypoints" in measured("pose", [annotation("green", GREEN)], status=1)
