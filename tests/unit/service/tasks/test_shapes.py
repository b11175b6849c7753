"""Masks, keypoints and angles are compared with the golden sample, each object with its own."""

import math
from dataclasses import replace

import numpy as np
import pytest
from faster_coco_eval.core import mask as coco

from service.artifact.golden import load_golden
from service.artifact.repository import read_artifact
from service.errors import ArtifactBroken, ArtifactMismatch
from service.tasks.choose import task_of
from service.tasks.detect import Detections
from service.tasks.obb import OrientedBoxes
from service.tasks.pose import Poses
from service.tasks.segment import RleMask, Segments
from tests.onnx_builders import build_constant

BOXES = np.array([[8, 8, 40, 24], [0, 40, 20, 60]], np.float32)
FOUND = {
    "boxes_xyxy": BOXES[None],
    "scores": np.array([[0.9, 0.7]], np.float32),
    "class_ids": np.array([[1, 2]], np.int32),
}
ANSWER = {f"det_{role}": array[0] for role, array in FOUND.items()}
DETECTIONS = Detections(BOXES, FOUND["scores"][0], np.array([1, 2]))


def built(folder, task, settings, found, answer):
    artifact = read_artifact(build_constant(folder, task, settings, FOUND | found, ANSWER | answer).folder)
    return task_of(artifact.manifest), load_golden(artifact), artifact.manifest


def without(golden, name, array=None):
    arrays = {key: value for key, value in golden.arrays.items() if key != name}
    return replace(golden, arrays=arrays if array is None else arrays | {name: array})


def encoded(bitmap):
    counts = coco.encode(np.asfortranarray(bitmap.astype(np.uint8)))["counts"].decode()
    return RleMask(size=bitmap.shape, counts=counts)


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    masks = np.zeros((2, 64, 64), bool)
    masks[0, 8:24, 8:28] = True  # 320 pixels
    masks[1, 40:60, 0:20] = True
    found = {
        "mask_coefficients": np.ones((1, 2, 1), np.float32),
        "prototypes": np.ones((1, 1, 16, 16), np.float16),
    }
    settings = {"mask_stride": 4, "prototypes": 1}
    packed = {"det_masks": np.packbits(masks, axis=-1)}
    return *built(tmp_path_factory.mktemp("segment"), "segment", settings, found, packed)[:2], masks


def test_masks_may_differ_by_a_hundredth_of_their_pixels(segmenter):
    task, golden, masks = segmenter
    near = masks.copy()
    near[0, 8, 8:11] = False  # 3 of 320
    task.compare(Segments(DETECTIONS, tuple(map(encoded, near))), golden)
    near[0, 8, 11] = False  # 4 of 320 are more than a hundredth
    with pytest.raises(ArtifactMismatch, match=r"mask \(detection 0\)"):
        task.compare(Segments(DETECTIONS, tuple(map(encoded, near))), golden)


def test_masks_of_swapped_objects_are_refused(segmenter):
    task, golden, masks = segmenter
    with pytest.raises(ArtifactMismatch, match="mask"):
        task.compare(Segments(DETECTIONS, tuple(map(encoded, masks[::-1]))), golden)


def test_objects_may_come_in_another_order_with_their_masks(segmenter):
    task, golden, masks = segmenter
    swapped = Detections(BOXES[::-1], DETECTIONS.scores[::-1], DETECTIONS.class_ids[::-1])
    task.compare(Segments(swapped, tuple(map(encoded, masks[::-1]))), golden)


@pytest.mark.parametrize("array", [None, np.zeros((1, 64, 8), np.uint8), np.zeros((2, 64, 7), np.uint8)])
def test_a_sample_without_the_right_masks_is_broken(segmenter, array):
    task, golden, masks = segmenter
    with pytest.raises(ArtifactBroken, match="det_masks"):
        task.compare(Segments(DETECTIONS, tuple(map(encoded, masks))), without(golden, "det_masks", array))


def test_keypoints_may_differ_by_their_tolerance(tmp_path):
    points = np.arange(12, dtype=np.float32).reshape(1, 2, 2, 3) / 12
    settings = {"keypoints": ["nose", "tail"], "skeleton": [[0, 1]]}
    answer = {"det_keypoints": points[0]}
    task, golden, manifest = built(tmp_path, "pose", settings, {"keypoints": points}, answer)
    limit = manifest.output("keypoints").tolerance.absolute
    assert limit > 0
    moved = points[0].astype(np.float64)
    moved[1, 0, 1] += 0.9 * limit
    task.compare(Poses(DETECTIONS, moved), golden)
    moved[1, 0, 1] += limit
    with pytest.raises(ArtifactMismatch, match=r"keypoint \(detection 1\)"):
        task.compare(Poses(DETECTIONS, moved), golden)
    with pytest.raises(ArtifactBroken, match="det_keypoints"):
        task.compare(Poses(DETECTIONS, points[0]), without(golden, "det_keypoints"))


def test_angles_may_differ_by_their_tolerance_and_by_half_a_turn(tmp_path):
    angles = np.array([[0.0, 1.0]], np.float32)
    task, golden, manifest = built(tmp_path, "obb", {}, {"angles": angles}, {"det_angles": angles[0]})
    limit = manifest.output("angles").tolerance.absolute
    assert limit > 0
    for turned in (angles[0], angles[0] + math.pi, angles[0] + [math.pi - limit / 2, 0]):
        task.compare(OrientedBoxes(DETECTIONS, turned), golden)
    with pytest.raises(ArtifactMismatch, match=r"angle \(detection 1\)"):
        task.compare(OrientedBoxes(DETECTIONS, angles[0] + np.array([0, 3 * limit])), golden)
    with pytest.raises(ArtifactBroken, match="det_angles"):
        task.compare(OrientedBoxes(DETECTIONS, angles[0]), without(golden, "det_angles"))
