"""The verdict on one image, for every task."""

from dataclasses import replace

import numpy as np
import pytest

from service.artifact.repository import read_artifact
from service.audits.compare import Compared, Image, compare, is_finite
from service.audits.limits import Limits
from service.pipeline.masks import Mask
from service.pipeline.rle import encode_rle
from service.request import DetectParams
from service.tasks.classify import Classes
from service.tasks.detect import Detections
from service.tasks.obb import OrientedBoxes
from service.tasks.pose import Poses
from service.tasks.resolve import resolve
from service.tasks.segment import PolygonMask, RleMask, Segments
from service.types import PathChoice
from tests.builders import build_artifact, build_classifier

LIMITS = Limits(pixels=2, score=0.1, router=0.05, mask=0.1, keypoint=3, angle=0.1, rate=0.02)


def detections(*boxes, scores=None, class_id=0):
    scores = [0.9] * len(boxes) if scores is None else scores
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.full(len(boxes), class_id, np.int64),
    )


@pytest.fixture
def image(artifact):
    return Image(artifact.manifest, resolve(DetectParams(), artifact.manifest), (64, 64))


def verdict(got, want, image):
    return compare(Compared(got, ()), Compared(want, ()), image, LIMITS)


def test_an_image_without_objects_agrees(image):
    assert verdict(detections(), detections(), image).agrees


def test_one_of_twenty_boxes_may_differ_and_three_may_not(image):
    boxes = [(i, i, i + 30, i + 30) for i in range(0, 600, 30)]
    assert len(boxes) == 20
    for differing, agrees in ((0, True), (2, True), (3, False)):
        found = verdict(detections(*boxes[differing:]), detections(*boxes), image)
        assert (found.agrees, len(found.differences)) == (agrees, differing)


def test_the_only_box_of_an_image_may_not_be_missing(image):
    assert not verdict(detections(), detections((4, 4, 30, 30)), image).agrees


def test_pixels_of_the_limit_are_those_of_the_model_input(image):
    """An image of 640 x 640 is shrunk tenfold, so two pixels of the input are twenty of the image."""
    large = replace(image, image_hw=(640, 640))
    got, want = detections((40, 40, 318, 318)), detections((40, 40, 300, 300))
    assert verdict(got, want, large).agrees
    assert not verdict(got, want, image).agrees


def test_classes_agree_if_their_probabilities_do(classifier):
    manifest = classifier.manifest
    image = Image(manifest, resolve(DetectParams(), manifest), (64, 64))

    def classes(ids, scores):
        return Classes(np.array(ids, np.int64), np.array(scores, np.float32))

    want = classes([0, 1], [0.6, 0.3])
    assert verdict(classes([0, 1], [0.55, 0.35]), want, image).agrees
    swapped = verdict(classes([1, 0], [0.6, 0.3]), want, image)
    assert not swapped.agrees
    assert {one.where for one in swapped.differences} == {"red", "green"}
    assert verdict(classes([0, 2], [0.6, 0.3]), want, image).agrees  # third in one, second in the other
    assert not verdict(classes([0, 2], [0.6, 0.45]), want, image).agrees


def test_masks_are_compared_by_iou(image):
    def segments(width):
        columns = np.arange(10, 10 + width)
        mask = Mask(columns, np.full(width, 10), np.full(width, 30))
        rle = RleMask(size=(64, 64), counts=encode_rle(mask, (64, 64)))
        return Segments(detections((10, 10, 30, 30)), (rle,))

    assert verdict(segments(20), segments(20), image).agrees
    assert verdict(segments(18), segments(20), image).agrees  # IoU 0.9
    found = verdict(segments(17), segments(20), image)
    assert [(one.kind, one.by) for one in found.differences] == [("mask", pytest.approx(0.15))]


def test_outlines_and_answers_without_masks_are_compared_by_their_boxes(image):
    outline = PolygonMask(polygon=[np.array([[0, 0], [0, 9], [9, 9], [9, 0]])])
    with_outline = Segments(detections((10, 10, 30, 30)), (outline,))
    without = Segments(detections((10, 10, 30, 30)), ())
    assert verdict(with_outline, with_outline, image).agrees
    assert verdict(without, without, image).agrees
    assert not verdict(Segments(detections(), ()), without, image).agrees


def test_keypoints_are_compared_where_both_answers_see_them(image):
    def poses(x, visible):
        points = np.array([[[x, 20, visible], [25, 25, 0.9]]], np.float32)
        return Poses(detections((10, 10, 30, 30)), points)

    assert verdict(poses(23, 0.9), poses(20, 0.9), image).agrees
    assert not verdict(poses(24, 0.9), poses(20, 0.9), image).agrees
    assert verdict(poses(60, 0.4), poses(20, 0.9), image).agrees
    assert not verdict(poses(np.nan, 0.9), poses(20, 0.9), image).agrees


def test_angles_are_compared_up_to_half_a_turn_and_not_of_squares(image):
    def oriented(angle, height=10):
        return OrientedBoxes(detections((10, 10, 40, 10 + height)), np.array([angle], np.float32))

    assert verdict(oriented(0.05), oriented(np.pi - 0.04), image).agrees
    assert not verdict(oriented(0.2), oriented(0.05), image).agrees
    assert verdict(oriented(np.pi / 2, 30), oriented(0.0, 30), image).agrees


def test_an_answer_with_nan_cannot_be_the_measure():
    sound = Compared(detections((1, 1, 9, 9)), ())
    assert is_finite(sound)
    assert not is_finite(Compared(detections((np.nan, 1, 9, 9)), ()))
    assert not is_finite(Compared(detections((1, 1, 9, 9), scores=[np.inf]), ()))
    assert not is_finite(Compared(Classes(np.array([0]), np.array([np.nan], np.float32)), ()))
    assert is_finite(Compared(Classes(np.array([], np.int64), np.array([], np.float32)), ()))


def manifest_of(tmp_path, name, **changes):
    return read_artifact(build_artifact(tmp_path / name, changes=changes).folder).manifest


def test_limits_are_the_sum_of_what_the_exporter_measured(tmp_path):
    parity = {"images": 8, "distinct_expert_sets": 4, "expert_sets": 0.98}
    parity |= {"differences": {"boxes": 10.0, "scores": 0.2, "gates": 0.3}}
    exact = manifest_of(tmp_path, "f32")
    rounded = manifest_of(tmp_path, "int8", precision="int8", parity=parity)
    loose = [row | {"tolerance": {"absolute": 32, "relative": 0}} for row in exact.model_dump()["outputs"]]
    loose = [row | {"dims": list(row["dims"])} for row in loose]
    int8 = manifest_of(tmp_path, "loose", precision="int8", parity=parity, outputs=loose)
    assert Limits.of(rounded, exact).score == pytest.approx(0.01)  # its own tolerance is smaller
    found = Limits.of(int8, exact)
    assert (found.pixels, found.score) == (pytest.approx(10.001), pytest.approx(0.2001))
    assert found.router == pytest.approx(0.3001)  # measured as gates
    assert found.rate == pytest.approx(0.04)
    assert Limits.of(int8, int8).pixels == pytest.approx(20.0)
    assert Limits.of(exact, exact) == Limits(1.0, 0.01, 0.01, 0.02, 1.0, 0.02, 0.02)


def test_limits_of_a_classifier_without_experts_bound_its_probabilities(tmp_path):
    built = build_classifier(tmp_path, experts=False)
    manifest = read_artifact(built.folder).manifest
    limits = Limits.of(manifest, manifest)
    assert (limits.score, limits.router) == (0.01, 0.01)


@pytest.mark.parametrize(
    ("probabilities", "agrees"),
    [
        pytest.param((0.0, 0.5 - LIMITS.router / 3, 0.5 + LIMITS.router / 3), True, id="nearly tied"),
        pytest.param((0.0, 0.5 - LIMITS.router, 0.5 + LIMITS.router), False, id="decided"),
    ],
)
def test_answers_on_two_paths_agree_only_if_the_reference_s_router_nearly_tied(image, probabilities, agrees):
    nothing, box = detections(), detections((1, 1, 9, 9))
    got = Compared(box, (), PathChoice(1, (0.0, 0.6, 0.4)))
    found = compare(got, Compared(nothing, (), PathChoice(2, probabilities)), image, LIMITS)
    assert found.agrees == agrees
    assert [(one.kind, one.where) for one in found.differences] == ([] if agrees else [("experts", "path")])


def test_answers_on_one_path_are_compared(image):
    path = PathChoice(1, (0.0, 1.0))
    found = compare(
        Compared(detections((1, 1, 9, 9)), (), path), Compared(detections(), (), path), image, LIMITS
    )
    assert not found.agrees
    assert not is_finite(Compared(detections(), (), PathChoice(0, (np.nan, 0.0))))
