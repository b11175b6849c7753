"""Predicting masks, keypoints and oriented boxes with an artifact gives what the service answers."""

import numpy as np
import pytest

from tests.builders import image_bytes
from tests.integration.service.conftest import serve, wait_until_ready
from tests.training_builders import shaped_model
from tests.unit.training.export.artifact.test_bundle import PROVENANCE, SPARSE, tinted_scenes
from training.export.artifact.bundle import export_model
from training.export.targets.build import ExportImages
from training.predict.load import load
from training.predict.rows import as_document

pytestmark = pytest.mark.heavy

TASKS = ("segment", "pose", "obb")


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    repository = tmp_path_factory.mktemp("shapes")
    images = ExportImages(tinted_scenes(), tinted_scenes())
    for task in TASKS:
        export_model(
            shaped_model(task),
            repository,
            task,
            images,
            targets=["openvino"],
            options=SPARSE,
            provenance=PROVENANCE,
        )
    return repository


@pytest.fixture(scope="module")
def served(repository):
    with serve(repository=repository, default_model="pose") as running:
        assert wait_until_ready(running).status_code == 200
        yield running


@pytest.mark.parametrize("settings", [{}, {"conf": 0.05, "iou": 0.3, "classes": "ring"}], ids=str)
@pytest.mark.parametrize("task", TASKS)
def test_shapes_are_those_of_the_service(served, repository, task, settings):
    compared = 0
    model = load(task, repository=repository)
    for scene in tinted_scenes():
        image = np.repeat(
            np.repeat(scene, 3, axis=0), 2, axis=1
        )  # neither the size nor the shape of the input
        answer = served.detect(image_bytes(image), model=task, **settings)
        assert answer.status_code == 200, answer.text
        wanted = answer.json()["predictions"]
        found = as_document(model.predict(image, **settings))["predictions"]
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            compared += 1
            assert one.keys() == other.keys()
            assert_same(one, other)
    assert compared > 20


def assert_same(found, wanted):
    for name in ("x", "y", "width", "height"):
        assert found[name] == pytest.approx(wanted[name], abs=2e-3)
    assert (found["class"], found["class_id"]) == (wanted["class"], wanted["class_id"])
    assert found["confidence"] == pytest.approx(wanted["confidence"], abs=2e-6)
    assert found.get("mask") == wanted.get("mask")
    for point, other in zip(found.get("keypoints", ()), wanted.get("keypoints", ()), strict=True):
        assert point["name"] == other["name"]
        assert [point[key] for key in ("x", "y")] == pytest.approx(
            [other[key] for key in ("x", "y")], abs=2e-3
        )
        assert point["confidence"] == pytest.approx(other["confidence"], abs=2e-6)
    if "corners" in wanted:
        np.testing.assert_allclose(found["corners"], wanted["corners"], atol=2e-3)
        turned = (found["rotation"] - wanted["rotation"] + 90) % 180 - 90
        assert abs(turned) < 0.01
