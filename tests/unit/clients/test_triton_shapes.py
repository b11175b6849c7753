"""Masks, keypoints and rotated boxes of Triton's ensembles, with numbers that can be checked by hand."""

import cmath
import math

import numpy as np
import pytest
from faster_coco_eval.core import mask as coco

from clients import triton
from clients.errors import BadParameter, ManifestMismatch, WrongTask
from clients.manifest import newest_manifest
from clients.tasks.obb import OrientedDetections, OrientedParams
from clients.tasks.pose import PoseParams, Poses
from clients.tasks.segment import SegmentParams, Segments
from clients.triton import TritonClient
from tests.unit.clients.conftest import (
    ENSEMBLE,
    GRAPH,
    POINT_NAMES,
    FakeTransport,
    answer_of,
    parameters_of,
    shaped_document,
)

# Halved to 64 x 32, with 16 columns of padding on either side: x = (x_input - 16) * 2, y = y_input * 2.
IMAGE = np.zeros((128, 64, 3), np.uint8)
PARAMS = {"segment": SegmentParams, "pose": PoseParams, "obb": OrientedParams}
OWN = {"segment": "masks", "pose": "keypoints", "obb": "corners"}


def manifest_of(task, **changes):
    return newest_manifest(parameters_of(shaped_document(task, **changes)), GRAPH)


def question(task, image=IMAGE, **asked):
    return PARAMS[task](**asked).ask(image, manifest_of(task))


def encoded(*masks):
    """Return masks as Triton sends them, by the COCO API."""
    counts = [coco.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"] for mask in masks]
    return np.array([*counts, None], dtype=object)[:-1]


def bitmaps(count, size):
    rng = np.random.default_rng(0)
    return rng.random((count, *size)) > 0.5


def own_answer(task, count=1):
    """Return an output of a task that has the right type and shape."""
    return {
        "segment": encoded(*bitmaps(count, IMAGE.shape[:2])),
        "pose": np.full((count, len(POINT_NAMES), 3), 0.5, np.float32),
        "obb": np.tile(np.array([[0, 0], [32, 0], [32, 32], [0, 32]], np.float32), (count, 1, 1)),
    }[task]


@pytest.mark.parametrize("task", PARAMS)
def test_the_ensemble_is_asked_for_what_the_task_adds(task):
    asked = question(task)
    assert asked.model == ENSEMBLE
    assert asked.outputs == ("boxes", "scores", "class_ids", OWN[task], "gates", "router_probs")
    assert set(asked.tensors) == {"images", "top_k", "weight_threshold", "conf", "iou", "max_det"}


@pytest.mark.parametrize(
    ("task", "asked", "parameters"),
    [
        ("segment", {}, {"image_height": 128, "image_width": 64}),
        ("segment", {"masks": "rle"}, {"image_height": 128, "image_width": 64}),
        ("segment", {"masks": "off"}, {}),
        ("pose", {}, {}),
        ("obb", {}, {}),
    ],
)
def test_only_masks_are_made_for_the_image(task, asked, parameters):
    assert question(task, **asked).parameters == parameters


# ---- masks ----------------------------------------------------------------------------------


def test_masks_are_those_that_triton_sent():
    masks = bitmaps(3, (128, 64))
    found = question("segment").read(answer_of(3) | {"masks": encoded(*masks)})
    np.testing.assert_array_equal(found.masks(), masks)
    assert [row["mask"] for row in found.predictions()] == [
        {"size": [128, 64], "counts": counts.decode()} for counts in encoded(*masks)
    ]
    assert found.boxes_xyxy.tolist() == [[0, 0, 32, 64]] * 3


def test_a_filter_keeps_each_objects_own_mask():
    masks = bitmaps(6, (128, 64))
    asked = question("segment", classes=["blue", 0], conf="0,red:0.7", max_det=3)
    found = asked.read(answer_of(6) | {"masks": encoded(*masks)})
    assert found.class_names == ("red", "blue", "blue")  # the second red one scores less than 0.7
    np.testing.assert_array_equal(found.masks(), masks[[0, 2, 5]])


def test_without_masks_there_are_boxes():
    asked = question("segment", masks="off")
    assert "masks" not in asked.outputs
    found = asked.read(answer_of(2))
    assert (len(found), found.encoded_masks) == (2, None)


@pytest.mark.parametrize(
    ("form", "sentence"), [("polygon", "needs the service"), ("png", "masks='png' cannot be used")]
)
def test_other_forms_of_masks_are_refused(form, sentence):
    with pytest.raises(BadParameter, match=sentence) as caught:
        question("segment", masks=form)
    assert caught.value.parameter == "masks"


@pytest.mark.parametrize("mask", [encoded(np.ones((64, 64)))[0], b"\xff\xff", b""])
def test_masks_of_another_size_do_not_fit(mask):
    with pytest.raises(ManifestMismatch, match="a mask does not fit the image"):
        question("segment").read(answer_of(1) | {"masks": np.array([mask, None], dtype=object)[:1]})


# ---- keypoints ------------------------------------------------------------------------------


def test_keypoints_come_back_in_pixels_of_the_image():
    points = np.array([[[20, 10, 0.75], [12, 70, 1.5]], [[16, 0, -0.5], [48, 64, 0]]], np.float32)
    found = question("pose").read(answer_of(2) | {"keypoints": points})
    assert found.keypoints.tolist() == [[[8, 20], [-8, 140]], [[0, 0], [64, 128]]], "also outside the image"
    assert found.keypoint_scores.tolist() == [[0.75, 1], [0, 0]]
    assert found.keypoint_names == POINT_NAMES
    assert found.skeleton == ((0, 1),)
    assert found.predictions()[0]["keypoints"][1] == {"name": "tail", "x": -8, "y": 140, "confidence": 1}


@pytest.mark.parametrize("lines", [[[0, 2]], [[0]], [["nose", "tail"]]])
def test_a_manifest_whose_skeleton_joins_no_keypoints_is_refused(lines):
    settings = shaped_document("pose")["task_settings"] | {"skeleton": lines}
    with pytest.raises(ManifestMismatch, match="skeleton"):
        PoseParams().ask(IMAGE, manifest_of("pose", task_settings=settings))


# ---- rotated boxes --------------------------------------------------------------------------


def polygon(box, angle):
    """Return the corners of a rotated box, each turned as a complex number."""
    left, top, right, bottom = box
    centre, turn = complex((left + right) / 2, (top + bottom) / 2), cmath.exp(1j * angle)
    corners = (complex(left, top), complex(right, top), complex(right, bottom), complex(left, bottom))
    turned = [(corner - centre) * turn + centre for corner in corners]
    return np.array([(corner.real, corner.imag) for corner in turned])


SIZES = [(20, 8), (8, 20), (0.25, 30), (30, 0.25), (12, 12), (0, 9), (9, 0)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("angle", [-0.7, -0.1, 0, 0.3, math.pi / 2, 2, 3, 3.3])
def test_rotated_boxes_come_back_in_pixels_of_the_image(angle, size):
    width, height = size
    x, y = 18, 3  # the box leaves the image
    box = np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
    corners = polygon(box, angle)
    sent = {"boxes": box[None].astype(np.float32), "corners": corners[None].astype(np.float32)}
    found = question("obb").read(answer_of(1) | sent)
    want = (box - [16, 0, 16, 0]) * 2
    np.testing.assert_allclose(found.boxes_xyxy[0], want, atol=1e-4)
    assert found.rotations[0] == pytest.approx(math.degrees(angle % math.pi), abs=1e-3)
    # The corners begin at the one that the rotation of 0 to 180 degrees makes of the box's top left.
    np.testing.assert_allclose(found.corners[0], polygon(want, angle % math.pi), atol=1e-4)


def test_a_box_without_area_has_some_rotation():
    sent = {"boxes": np.full((1, 4), 20, np.float32), "corners": np.full((1, 4, 2), 20, np.float32)}
    found = question("obb").read(answer_of(1) | sent)
    assert found.corners.tolist() == [[[8, 40]] * 4]
    assert 0 <= found.rotations[0] < 180


# ---- all three ------------------------------------------------------------------------------


@pytest.mark.parametrize("task", PARAMS)
def test_nothing_found_is_an_empty_result(task):
    found = question(task).read(answer_of(0) | {OWN[task]: own_answer(task, 0)})
    assert len(found) == 0
    assert found.predictions() == []
    if task == "pose":
        assert found.keypoints.shape == (0, 2, 2)


@pytest.mark.parametrize("task", PARAMS)
def test_an_ensemble_without_the_tasks_output_does_not_fit(task):
    with pytest.raises(ManifestMismatch, match=f"^{ENSEMBLE}: the answer lacks {OWN[task]}; load the model"):
        question(task).read(answer_of(1))


@pytest.mark.parametrize("task", PARAMS)
def test_an_output_of_another_shape_or_type_does_not_fit(task):
    with pytest.raises(ManifestMismatch, match=f"{OWN[task]} has the shape"):
        question(task).read(answer_of(1) | {OWN[task]: own_answer(task, 2)})
    with pytest.raises(ManifestMismatch, match=f"{OWN[task]} has the type float64"):
        question(task).read(answer_of(1) | {OWN[task]: np.zeros(own_answer(task).shape)})


@pytest.mark.parametrize("task", PARAMS)
def test_a_manifest_without_the_tasks_outputs_is_refused(task):
    document = shaped_document(task)
    outputs = [row for row in document["outputs"] if row["role"] not in ("prototypes", "keypoints", "angles")]
    with pytest.raises(ManifestMismatch, match="no output has the role"):
        PARAMS[task]().ask(IMAGE, manifest_of(task, outputs=outputs))


def test_keypoints_without_names_are_refused():
    settings = {**shaped_document("pose")["task_settings"], "keypoints": [1, 2]}
    with pytest.raises(ManifestMismatch, match=r"task_settings\.keypoints is not a list of str"):
        PoseParams().ask(IMAGE, manifest_of("pose", task_settings=settings))


@pytest.mark.parametrize("task", PARAMS)
def test_suppression_across_classes_needs_the_service(task):
    with pytest.raises(BadParameter, match="agnostic_nms needs the service"):
        question(task, agnostic_nms=True)


# ---- the client -----------------------------------------------------------------------------

RESULTS = {"segment": Segments, "pose": Poses, "obb": OrientedDetections}


def client_for(task, monkeypatch):
    fake = FakeTransport(shaped_document(task))
    fake.changes = {OWN[task]: own_answer(task)}
    monkeypatch.setattr(triton, "_open", lambda *_: fake)
    return TritonClient("host:8001", model="tiny"), fake


@pytest.mark.parametrize("task", PARAMS)
def test_a_prediction_is_what_the_method_of_the_models_task_returns(task, monkeypatch):
    client, fake = client_for(task, monkeypatch)
    method = client.detect_oriented if task == "obb" else getattr(client, task)
    by_method, by_task = method(IMAGE, conf=0.2, top_k=3), client.predict(IMAGE, conf=0.2, top_k=3)
    assert type(by_task) is RESULTS[task]
    assert by_task.to_dict() == by_method.to_dict()
    assert by_task.predictions()
    assert fake.asked == [ENSEMBLE] * 2
    assert [(sent["conf"].item(), sent["top_k"].item()) for sent in fake.sent] == [
        (pytest.approx(0.2), 3)
    ] * 2
    size = {"image_height": 128, "image_width": 64}
    assert fake.stated == [size if task == "segment" else {}] * 2


def test_a_prediction_takes_the_parameters_of_the_task_only(monkeypatch):
    client, fake = client_for("segment", monkeypatch)
    assert client.predict(IMAGE, masks="off").encoded_masks is None
    client, fake = client_for("pose", monkeypatch)
    with pytest.raises(BadParameter, match="the task 'pose' has no parameter masks"):
        client.predict(IMAGE, masks="off")
    with pytest.raises(WrongTask, match=r"call pose\(\) instead"):
        client.segment(IMAGE)
    assert fake.sent == []
