"""Exported segmenters, pose networks and detectors of oriented boxes are served: as the checkpoint finds."""

import json
import math

import numpy as np
import pytest
from shapely.geometry import Polygon

from clients.rle import decode_rle
from tests.builders import image_bytes
from tests.integration.service.conftest import serve, wait_until_ready
from tests.training_builders import shaped_model
from tests.unit.training.export.artifact.test_bundle import PROVENANCE, tinted_scenes
from training.data.evaluation import on_canvas
from training.evaluate.detections import DetectConfig
from training.evaluate.objects.kinds import kind_of
from training.export.artifact.bundle import export_model
from training.export.contract.spec import GraphSpec
from training.export.graph.export_graph import Eager
from training.export.targets.build import ExportImages
from training.export.targets.options import ExportOptions
from training.export.tasks.objects import kept

pytestmark = pytest.mark.heavy

TASKS = ("segment", "pose", "obb")
CONF, MOST = 0.7, 40
WAYS = {
    "openvino": {"backends": "openvino"},  # sparse; the graph selects its candidates
    "onnx": {"backends": "onnx"},
    "npu": {"backends": "openvino", "target": "npu"},  # the service selects them
}


@pytest.fixture(scope="module")
def models():
    return {task: shaped_model(task) for task in TASKS}


@pytest.fixture(scope="module")
def repository(models, tmp_path_factory):
    folder, images = tmp_path_factory.mktemp("exported"), tinted_scenes()
    for task, model in models.items():
        for targets, execution in ((["openvino", "onnx"], "sparse"), (["npu"], "auto")):
            export_model(
                model,
                folder,
                task,
                ExportImages(images, images),
                targets=targets,
                options=ExportOptions(execution=execution),
                provenance=PROVENANCE,
            )
    return folder


@pytest.fixture(scope="module", params=WAYS)
def running(request, repository):
    """Return the service over the artifacts of one target; it has replayed every golden sample."""
    with serve(repository=repository, default_model="pose", **WAYS[request.param]) as served:
        ready = wait_until_ready(served)
        assert ready.status_code == 200, ready.text
        yield served


def expected(model, image):
    """Return what the checkpoint finds in an image, in PyTorch."""
    spec = GraphSpec("dense", "graph")
    reference = Eager(model, spec)
    canvas = on_canvas(image, model.config.input_hw, model.resize)
    outputs = reference.answer(canvas, model.default_controls())
    by_role = reference.contract.by_role(outputs)
    settings = DetectConfig(conf=CONF, iou=0.7, max_det=MOST)
    return kept(by_role, image.shape[:2], model.config.input_hw, settings, kind_of(model.config))


def answers(running, models, task):
    """Yield the predictions of the service and the detections of the checkpoint, for each image."""
    total = 0
    for image in tinted_scenes():
        answer = running.detect(image_bytes(image), model=task, conf=CONF, max_det=MOST)
        assert answer.status_code == 200, answer.text
        got, want = answer.json()["predictions"], expected(models[task], image)
        assert [one["class_id"] for one in got] == want.class_ids.tolist()
        assert [one["confidence"] for one in got] == pytest.approx(want.scores.tolist(), abs=1e-4)
        total += len(got)
        yield got, want
    assert total > 20


def test_masks_are_those_of_the_checkpoint(running, models):
    pixels = 0
    for got, want in answers(running, models, "segment"):
        for one, mask in zip(got, want.masks, strict=True):
            found, whole = decode_rle(one["mask"]["counts"], tuple(one["mask"]["size"])), mask.bitmap()
            assert found.shape == whole.shape == (48, 64)
            union = (found | whole).sum()
            assert (found & whole).sum() >= 0.99 * union
            pixels += union
    assert pixels > 1000


def test_keypoints_are_those_of_the_checkpoint_in_source_pixels(running, models):
    for got, want in answers(running, models, "pose"):
        for one, points in zip(got, want.keypoints, strict=True):
            assert [point["name"] for point in one["keypoints"]] == ["nose", "left", "right"]
            found = [[point["x"], point["y"], point["confidence"]] for point in one["keypoints"]]
            assert np.array(found) == pytest.approx(points, abs=2e-3)


def test_corners_are_those_of_the_checkpoint_in_source_pixels(running, models):
    for got, want in answers(running, models, "obb"):
        for one, corners in zip(got, want.corners, strict=True):
            assert 0 <= one["rotation"] < 180
            # The corners begin elsewhere if the angle is given as one of 0..180°: the box is the same.
            found, box = Polygon(one["corners"]), Polygon(corners.tolist())
            assert found.symmetric_difference(box).area <= 0.01 * box.area + 0.01
            (x1, y1), (x2, y2) = one["corners"][:2]
            turned = math.radians(one["rotation"]) - math.atan2(y2 - y1, x2 - x1)
            assert abs(math.remainder(turned, math.pi)) < 2e-2 or one["width"] < 0.5


@pytest.mark.parametrize("target", WAYS)
@pytest.mark.parametrize("task", TASKS)
def test_the_golden_sample_holds_what_the_service_replays(repository, task, target):
    folder = repository / f"{task}-{target}"
    (version,) = folder.glob("*/manifest.json")
    manifest = json.loads(version.read_text())
    assert manifest["task"] == task
    assert manifest["proved"]
    with np.load(version.parent / "golden.npz", allow_pickle=False) as golden:
        count, (height, width) = len(golden["det_scores"]), golden["image"].shape[:2]
        assert count > 3
        name, shape, dtype = {
            "segment": ("det_masks", (count, height, math.ceil(width / 8)), np.uint8),
            "pose": ("det_keypoints", (count, 3, 3), np.float32),
            "obb": ("det_angles", (count,), np.float32),
        }[task]
        assert (golden[name].shape, golden[name].dtype) == (shape, dtype)
        assert golden[name].any()
        if task == "obb":
            boxes = golden["det_boxes_xyxy"]
            assert ((boxes < 0) | (boxes > [width, height] * 2)).any(), "boxes are not clipped"
