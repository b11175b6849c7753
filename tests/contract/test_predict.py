"""Predicting with an artifact gives what the service answers for the same image."""

from pathlib import Path

import numpy as np
import pytest

from tests.builders import image_bytes
from tests.integration.service.conftest import serve, wait_until_ready
from training import load

REPOSITORY = Path(__file__).resolve().parents[2] / "model_repository"


@pytest.fixture(scope="module")
def served():
    with serve(repository=REPOSITORY, default_model="starter") as running:
        assert wait_until_ready(running).status_code == 200
        yield running


@pytest.fixture(scope="module")
def starter():
    return load("starter")


@pytest.fixture(scope="module")
def scene():
    with np.load(REPOSITORY / "starter-openvino" / "1" / "golden.npz") as golden:
        return golden["image"]


@pytest.mark.parametrize("form", ["PNG", "JPEG", "a large JPEG", "a wide crop"])
@pytest.mark.parametrize(
    "settings",
    [{}, {"conf": 0.02, "iou": 0.4, "max_det": 20}, {"conf": 0.01, "classes": "RBC,fish"}, {"top_k": 1}],
    ids=["as by default", "thresholds", "classes", "one expert"],
)
def test_the_starter_predicts_what_it_serves(served, starter, scene, tmp_path, form, settings):
    image = scene[40:160] if form == "a wide crop" else scene
    path = tmp_path / "image"
    if form == "a large JPEG":  # servers decode it at a smaller size, with edges between reduced pixels
        image = np.kron(scene, np.ones((4, 4, 1), np.uint8))[3:, :-5]
    path.write_bytes(image_bytes(image, "JPEG" if "JPEG" in form else "PNG"))
    answer = served.detect(path.read_bytes(), **settings).json()
    classes = settings.get("classes", "").split(",") if "classes" in settings else ()
    found = starter.predict(path, **{**settings, "classes": classes})
    wanted = answer["predictions"]
    if settings.get("conf"):
        assert wanted, "an answer without boxes compares nothing"
    assert found.class_names == [each["class"] for each in wanted]
    assert found.class_ids.tolist() == [each["class_id"] for each in wanted]
    np.testing.assert_allclose(found.scores, [each["confidence"] for each in wanted], atol=1e-6)
    boxes = np.array([[each[side] for side in ("x", "y", "width", "height")] for each in wanted])
    centers, sizes = boxes.reshape(-1, 4)[:, :2], boxes.reshape(-1, 4)[:, 2:]
    np.testing.assert_allclose(
        found.boxes_xyxy, np.hstack([centers - sizes / 2, centers + sizes / 2]), atol=2e-3
    )
    for layer in answer["moe"]["layers"]:
        ran = found.experts[layer["layer"]]
        assert sorted(ran) == layer["active"]
        assert [ran[expert] for expert in layer["active"]] == pytest.approx(layer["weights"], abs=1e-5)
