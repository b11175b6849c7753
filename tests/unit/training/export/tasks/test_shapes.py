"""Outputs, differences and golden samples of masks, keypoints and oriented boxes."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.training_builders import plain_config, shaped_model
from training.data.images.letterbox import Letterbox
from training.data.scenes.scenes import ScenesDataset
from training.export.contract.precision import TOLERANCES
from training.export.contract.spec import GraphSpec
from training.export.graph.export_graph import Eager, graph_contract
from training.export.proof.parity import answer_differences
from training.export.tasks.obb import OBB
from training.export.tasks.pose import pose_task
from training.export.tasks.segment import SEGMENT
from training.export.tasks.tasks import export_task
from training.models.mixture.routing import RoutingControls
from training.ops.rotated import oriented_boxes, unrotated

# The source image is half as large as the input of 64 × 64: x_input = 2 · x_source.
IMAGE = np.zeros((32, 32, 3), np.uint8)
INPUT_HW = (64, 64)
BOXES = np.array([[8, 8, 40, 24], [0, 40, 20, 64], [30, 30, 50, 50]], np.float32)
SCORES = np.array([0.9, 0.7, 0.1], np.float32)
CLASS_IDS = np.array([1, 2, 1], np.int32)
F32 = TOLERANCES["f32"]


def answer(**more):
    """Return the outputs by role of a graph that selects candidates; the last one is below the threshold."""
    return {"boxes_xyxy": BOXES[None], "scores": SCORES[None], "class_ids": CLASS_IDS[None], **more}


def anchors(**more):
    """Return the same outputs as a graph that returns every anchor."""
    class_scores = np.zeros((1, 3, 3), np.float32)
    class_scores[0, range(3), CLASS_IDS] = SCORES
    return {"boxes_xyxy": BOXES[None], "class_scores": class_scores, **more}


def swapped(outputs):
    """Return the outputs with the first two candidates in the other order."""
    rows = {role for role in outputs if role != "prototypes"}
    return {role: values[:, [1, 0, 2]] if role in rows else values for role, values in outputs.items()}


def masks():
    """Two prototypes: a slope to the right that is 0 at column 24 of the input, and 1 everywhere."""
    slope = np.broadcast_to((np.arange(16) * 4 + 2 - 24).astype(np.float16), (16, 16))
    prototypes = np.stack([slope, np.ones_like(slope)])[None].astype(np.float16)
    coefficients = np.array([[[-1, 0], [1, 16], [0, 1]]], np.float32)
    return {"mask_coefficients": coefficients, "prototypes": prototypes}


POSE = pose_task(shaped_model("pose").config)
POINTS = (np.arange(27, dtype=np.float32).reshape(1, 3, 3, 3) * [2, 2, 0.03]).astype(np.float32)
ANGLES = np.array([[0.0, math.pi / 2, -0.5]], np.float32)


@pytest.mark.parametrize("outputs", [answer, anchors])
def test_golden_masks_are_the_source_pixels_left_or_right_of_a_column(outputs):
    golden = SEGMENT.golden(outputs(**masks()), IMAGE, INPUT_HW)
    assert golden.found
    want = np.zeros((2, 32, 32), bool)
    want[0, 4:12, 4:12] = True  # left of column 24 of the input
    want[1, 20:32, 4:10] = True  # right of column 8
    found = np.unpackbits(golden.arrays["det_masks"], axis=-1, count=32).astype(bool)
    assert np.array_equal(found, want)
    assert golden.arrays["det_boxes_xyxy"].tolist() == (BOXES[:2] / 2).tolist()


def test_golden_masks_of_nothing_have_the_size_of_the_image():
    nothing = answer(**masks()) | {"scores": np.full((1, 3), 0.01, np.float32)}
    golden = SEGMENT.golden(nothing, np.zeros((32, 30, 3), np.uint8), INPUT_HW)
    assert not golden.found
    assert golden.arrays["det_masks"].shape == (0, 32, 4)


@pytest.mark.parametrize("outputs", [answer, anchors])
def test_golden_keypoints_are_in_source_pixels_and_not_clipped(outputs):
    golden = POSE.golden(outputs(keypoints=POINTS - [20, 0, 0]), IMAGE, INPUT_HW)
    want = (POINTS[0, :2] - [20, 0, 0]) * [0.5, 0.5, 1]
    assert golden.arrays["det_keypoints"] == pytest.approx(want, abs=1e-5)
    assert golden.arrays["det_keypoints"].min() < 0


@pytest.mark.parametrize("outputs", [answer, anchors])
def test_golden_oriented_boxes_are_before_rotation_and_beyond_the_image_and_angles_are_positive(outputs):
    wide = np.array([[-8, 8, 40, 24], [0, 40, 20, 70], [30, 30, 50, 50]], np.float32)
    angles = np.array([[-0.5, math.pi / 2, 0]], np.float32)
    golden = OBB.golden(outputs(angles=angles) | {"boxes_xyxy": wide[None]}, IMAGE, INPUT_HW)
    assert golden.arrays["det_boxes_xyxy"] == pytest.approx(wide[:2] / 2, abs=1e-4)
    assert golden.arrays["det_angles"] == pytest.approx([math.pi - 0.5, math.pi / 2], abs=1e-5)


@pytest.mark.parametrize(("iou", "kept"), [(0.7, 2), (0.3, 1)])
def test_oriented_boxes_are_suppressed_by_their_rotated_overlap(iou, kept, monkeypatch):
    """A square of 20 and one turned by 45° share 0.7071 of their union, although their boxes are equal."""
    monkeypatch.setattr("training.export.tasks.objects.IOU", iou + 0.01)
    same = {
        "boxes_xyxy": np.array([[[20, 20, 40, 40]] * 2], np.float32),
        "scores": np.array([[0.9, 0.8]], np.float32),
        "class_ids": np.zeros((1, 2), np.int32),
        "angles": np.array([[0, math.pi / 4]], np.float32),
    }
    assert len(OBB.golden(same, IMAGE, INPUT_HW).arrays["det_scores"]) == kept


CASES = {
    "segment": (SEGMENT, masks),
    "pose": (POSE, lambda: {"keypoints": POINTS}),
    "obb": (OBB, lambda: {"angles": ANGLES}),
}


@pytest.mark.parametrize("outputs", [answer, anchors])
@pytest.mark.parametrize("case", CASES)
def test_equal_answers_have_no_difference(case, outputs):
    task, more = CASES[case]
    want = outputs(**more())
    found = answer_differences(task, want, want, F32)
    assert all((each.largest, each.excess) == (0, 0) for each in found.values())
    assert {role for role, values in want.items() if values.dtype.kind == "f"} <= set(found)
    assert set(task.further_limits(F32)) <= set(found)


@pytest.mark.parametrize("case", CASES)
def test_candidates_in_another_order_are_equal(case):
    task, more = CASES[case]
    want = answer(**more())
    found = answer_differences(task, want, swapped(want), F32)
    assert all(each.largest == 0 for each in found.values())


@pytest.mark.parametrize("role", ["keypoints", "angles", "mask_coefficients"])
def test_candidates_of_one_place_and_score_are_told_apart_by_what_else_they_hold(role):
    """Two equal boxes with equal scores, in one order here and in the other there."""
    task, more = next((task, more()) for task, more in CASES.values() if role in more())
    same = {
        "boxes_xyxy": BOXES[None, [0, 0, 2]],
        "scores": np.array([[0.9, 0.9, 0.1]], np.float32),
        "class_ids": np.array([[1, 1, 2]], np.int32),
    }
    want = same | more
    found = answer_differences(task, want, swapped(want), F32)
    assert all(each.largest == 0 for each in found.values())


@pytest.mark.parametrize("outputs", [answer, anchors])
def test_masks_differ_by_the_pixels_that_are_of_one_alone(outputs):
    want, other = outputs(**masks()), masks()
    other["mask_coefficients"][0, 0] = [-1, -2]  # left of column 22 instead of 24, in rows 8 to 24
    other["mask_coefficients"][0, 2] = [0, -1]  # an object below the threshold: nothing instead of all
    found = answer_differences(SEGMENT, want, outputs(**other), F32)
    assert found["masks"].compared == 2
    assert found["masks"].largest == pytest.approx(2 / 16)
    assert found["masks"].excess > SEGMENT.further_limits(F32)["masks"]
    assert found["mask_coefficients"].largest == 2  # of every candidate that scores at least MIN_SCORE
    assert found["prototypes"].largest == 0


def test_another_prototype_changes_masks_too():
    want, other = answer(**masks()), masks()
    other["prototypes"][0, 0] += np.float16(2)
    found = answer_differences(SEGMENT, want, answer(**other), F32)
    assert found["prototypes"].largest == 2
    assert found["masks"].largest == pytest.approx(2 / 14)


def test_keypoints_and_their_visibilities_differ_by_their_own_units():
    want = answer(keypoints=POINTS)
    moved, hidden = POINTS.copy(), POINTS.copy()
    moved[0, 1, 2, 0] += 0.04
    hidden[0, 0, 0, 2] += 0.04
    found = answer_differences(POSE, want, answer(keypoints=moved), F32)
    assert found["keypoints"].excess == pytest.approx(0.04, abs=1e-5)
    assert found["keypoints"].excess <= F32.keypoints_px
    assert found["visibilities"].largest == 0
    found = answer_differences(POSE, want, answer(keypoints=hidden), F32)
    assert found["keypoints"].largest == 0
    assert found["visibilities"].excess == pytest.approx(0.04, abs=1e-6)
    assert found["visibilities"].excess > POSE.further_limits(F32)["visibilities"]


@pytest.mark.parametrize(
    ("turn", "degrees"),
    [(math.pi, 0), (math.radians(0.1), 0.1), (math.pi - math.radians(0.1), 0.1), (-math.pi / 2, 90)],
)
def test_angles_are_compared_modulo_half_a_turn(turn, degrees):
    want, got = answer(angles=ANGLES), answer(angles=ANGLES + np.array([[0, turn, 0]], np.float32))
    found = answer_differences(OBB, want, got, F32)["angles"]
    assert math.degrees(found.largest) == pytest.approx(degrees, abs=1e-4)
    assert (found.excess <= F32.angles) == (degrees <= 0.2)


@pytest.mark.parametrize("case", CASES)
def test_no_number_in_what_a_task_adds_is_a_difference(case):
    task, more = CASES[case]
    spoilt = {role: np.full_like(values, np.nan) for role, values in more().items()}
    found = answer_differences(task, answer(**more()), answer(**spoilt), F32)
    assert all(np.isnan(each.excess) for each in found.values())


@pytest.mark.parametrize("selection", ["graph", "service"])
@pytest.mark.parametrize("task", CASES)
def test_the_graph_returns_what_the_contract_says(task, selection):
    model = shaped_model(task)
    spec = GraphSpec("dense", selection, 50)
    contract = graph_contract(model.config, spec)
    rng = np.random.default_rng(0)
    canvas = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    outputs = Eager(model, spec).answer(canvas, RoutingControls(1))
    for row in contract.outputs:
        assert outputs[row.name].shape == (1, *row.sizes), row.name
        assert str(outputs[row.name].dtype) == {"f32": "float32", "f16": "float16", "i32": "int32"}[row.dtype]
    roles = [row.role for row in contract.outputs]
    boxes = ["boxes_xyxy", "scores", "class_ids"] if selection == "graph" else ["boxes_xyxy", "class_scores"]
    own = {"segment": ["mask_coefficients", "prototypes"], "pose": ["keypoints"], "obb": ["angles"]}[task]
    assert roles == [*boxes, *own, "gates", "router_probs"]
    assert contract.outputs[0].sizes == ((50, 4) if selection == "graph" else (84, 4))


@pytest.mark.parametrize("task", CASES)
def test_both_selections_give_the_same_golden_answer(task):
    """Of the graph's candidates, as of all anchors, the same objects are kept with what belongs to them."""
    model = shaped_model(task)
    canvas = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    found = []
    for selection in ("graph", "service"):
        spec = GraphSpec("dense", selection, 168)
        outputs = Eager(model, spec).answer(canvas, RoutingControls(1))
        by_role = graph_contract(model.config, spec).by_role(outputs)
        found.append(export_task(model.config).golden(by_role, canvas[:60], INPUT_HW))
    assert len(found[0].arrays["det_scores"]) > 5
    for name, values in found[0].arrays.items():
        np.testing.assert_allclose(values, found[1].arrays[name], atol=1e-4, err_msg=name)


LARGE_HW = (256, 256)  # cells of 4 × 4 pixels blur the masks of small objects
LABELS = {"segment": "masks", "pose": "keypoints", "obb": "corners"}


def perfect(sample, task):
    """Return the outputs of a graph that finds exactly the labels of an image of the input's size."""
    count = len(sample.class_ids)
    found = {
        "boxes_xyxy": sample.boxes_xyxy.astype(np.float32),
        "scores": np.linspace(0.9, 0.5, count).astype(np.float32),
        "class_ids": sample.class_ids.astype(np.int32),
    }
    match task:
        case "segment":  # one prototype for each object
            found["mask_coefficients"] = np.eye(count, dtype=np.float32)
            whole = np.stack([mask.on(LARGE_HW) for mask in sample.masks])
            cells = whole.reshape(count, 64, 4, 64, 4).mean(axis=(2, 4))
            found["prototypes"] = (cells - 0.5).astype(np.float16)
        case "pose":
            found["keypoints"] = sample.keypoints
        case "obb":
            boxes = oriented_boxes(torch.from_numpy(sample.corners))
            found |= {"boxes_xyxy": unrotated(boxes).numpy(), "angles": boxes[:, 4].numpy()}
    return {role: values[None] for role, values in found.items()}


@pytest.mark.parametrize("task", CASES)
def test_the_metric_is_that_of_what_the_task_adds(task):
    """Right boxes with wrong masks, keypoints or angles score less."""
    data = ScenesDataset(6, seed=2, image_hw=LARGE_HW, labels=LABELS[task])
    of_task = export_task(replace(plain_config(), task=task, skeleton=data.skeleton))
    samples = [data.load(index) for index in range(len(data))]
    answers = [(sample, perfect(sample, task)) for sample in samples]
    right = of_task.metric(answers, data.class_names, LARGE_HW)
    assert right >= (0.7 if task == "segment" else 0.999)
    role = {"segment": "mask_coefficients", "pose": "keypoints", "obb": "angles"}[task]
    change = {"segment": -1.0, "pose": 60.0, "obb": 0.7}[task]
    wrong = [(sample, outputs | {role: outputs[role] + np.float32(change)}) for sample, outputs in answers]
    assert of_task.metric(wrong, data.class_names, LARGE_HW) < 0.5 * right


def test_the_settings_name_keypoints_and_lines():
    spec = GraphSpec("dense", "graph")
    common = {
        "selection": "graph",
        "candidates": 1000,
        "defaults": {"conf": 0.25, "iou": 0.7, "max_det": 300},
    }
    assert OBB.settings(spec) == common
    assert SEGMENT.settings(spec) == common | {"mask_stride": 4, "prototypes": 32}
    skeleton = {"keypoints": ["nose", "left", "right"], "skeleton": [[0, 1], [0, 2]]}
    assert POSE.settings(spec) == common | skeleton


def test_the_input_of_the_masks_is_the_letterbox_of_the_image():
    """A wide image has borders above and below: masks end where the image does."""
    wide = np.zeros((16, 32, 3), np.uint8)
    assert Letterbox.fit((16, 32), INPUT_HW).top == 16
    outputs = answer(**masks()) | {"boxes_xyxy": np.array([[[8, 8, 40, 32]] * 3], np.float32)}
    found = SEGMENT.golden(outputs, wide, INPUT_HW).arrays["det_masks"]
    want = np.zeros((16, 32), bool)
    want[0:8, 4:12] = True
    assert np.array_equal(np.unpackbits(found[0], axis=-1, count=32).astype(bool), want)
