"""Checkpoints of segmenters, pose networks and detectors of oriented boxes answer as `evaluate` does."""

import cv2
import numpy as np
import pytest

from tests.training_builders import shaped_model
from tests.unit.training.data.small_data import MemoryDataset
from tests.unit.training.export.artifact.test_bundle import tinted_scenes
from training import load
from training.__main__ import main
from training.data.masks import Mask
from training.data.sample import Sample
from training.evaluate.evaluator import evaluate
from training.trainer.checkpoint import save_model

CORNERS = np.array([[[4, 4], [30, 4], [30, 36], [4, 36]]], np.float32)


def labelled(image, index, task):
    shapes = {
        "segment": {"masks": (Mask(4, 4, np.ones((32, 26), dtype=bool)),)},
        "pose": {"keypoints": np.full((1, 3, 3), 2, np.float32)},
        "obb": {"corners": CORNERS},
    }
    box, ids = np.array([[4, 4, 30, 36]], np.float32), np.array([index % 2])
    return Sample(image, box, ids, f"{index}", **shapes[task])


@pytest.fixture(scope="module", params=["segment", "pose", "obb"])
def model(request):
    return shaped_model(request.param)


@pytest.fixture
def saved(model, tmp_path):
    save_model(tmp_path / "model.safetensors", model, {})
    return tmp_path / "model.safetensors"


def test_shapes_are_those_of_evaluate(model, saved):
    images = tinted_scenes()
    data = MemoryDataset([labelled(image, k, model.config.task) for k, image in enumerate(images)])
    data.class_names = model.config.class_names
    wanted = evaluate(model, data).detections
    loaded = load(saved)
    for image, one in zip(images, wanted, strict=True):
        found = loaded.predict(image, conf=0.001)
        assert len(found) == len(one.scores) > 20
        np.testing.assert_allclose(found.boxes_xyxy, one.boxes_xyxy, atol=1e-3)
        np.testing.assert_allclose(found.scores, one.scores, atol=1e-5)
        np.testing.assert_array_equal(found.class_ids, one.class_ids)
        shapes = (found.masks, found.keypoints, found.corners)
        assert [each is None for each in shapes] == [
            each is None for each in (one.masks, one.keypoints, one.corners)
        ]
        assert sum(each is not None for each in shapes) == 1
        if found.masks is not None:
            hw = image.shape[:2]
            off = [
                (mask.on(hw) ^ runs.bitmap()).sum() for mask, runs in zip(found.masks, one.masks, strict=True)
            ]
            # The graph's prototypes are in float16: a logit near 0 can change its sign.
            assert sum(off) <= 1e-3 * sum(runs.bitmap().sum() for runs in one.masks)
        if found.keypoints is not None:
            np.testing.assert_allclose(found.keypoints, one.keypoints, atol=1e-3)
            assert found.keypoint_names == ("nose", "left", "right")
            assert found.skeleton == ((0, 1), (0, 2))
        if found.corners is not None:
            np.testing.assert_allclose(found.corners, one.corners, atol=1e-3)


def test_a_notebook_shows_what_was_found(saved, model):
    image = tinted_scenes()[0]
    found = load(saved).predict(image, conf=0.05)
    assert len(found) > 0
    assert repr(found).startswith(f"image, 64 x 48 pixels: {len(found)} ") or len(set(found.class_ids)) > 1
    shown = cv2.imdecode(np.frombuffer(found._repr_png_(), np.uint8), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(shown, found.plot())
    assert (found.plot(experts=False) != image).any()


def test_the_command_writes_rows_of_the_task(saved, model, tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "a.png"), tinted_scenes()[0])
    output = tmp_path / "out"
    argv = [
        "predict",
        str(saved),
        str(tmp_path / "a.png"),
        "--output",
        str(output),
        "--save-txt",
        "--conf",
        "0.05",
    ]
    assert main(argv) == 0
    assert " objects" in capsys.readouterr().out
    rows = [row.split() for row in (output / "labels" / "a.txt").read_text().splitlines()]
    assert rows
    columns = {len(row) for row in rows}
    match model.config.task:
        case "segment":
            assert all(count % 2 and count >= 9 for count in columns)
        case "pose":
            assert columns == {5 + 3 * 3}
        case "obb":
            assert columns == {9}
    assert (output / "a.png").is_file()
