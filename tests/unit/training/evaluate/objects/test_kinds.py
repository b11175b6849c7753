"""What detections of each kind are kept, and what confusion matrices count."""

import numpy as np
import pytest
import torch

from tests.unit.training.evaluate.objects.random_objects import CLASSES, KINDS, random_images
from training.data.evaluation import Truth
from training.data.images.letterbox import Letterbox
from training.errors import DatasetError
from training.evaluate.confusion import detection_confusion
from training.evaluate.curves import curves_of
from training.evaluate.detections import Candidates, DetectConfig, Detections
from training.evaluate.matches import match_by_class
from training.evaluate.mean_ap import mean_average_precision
from training.evaluate.objects.corners import CORNERS, corner_iou
from training.evaluate.objects.keypoints import Keypoints

POINTS = Keypoints((0.1,) * 2)


@pytest.mark.parametrize("name", list(KINDS))
def test_the_confusion_matrix_is_that_of_pairs_made_one_after_the_other(name):
    kind = KINDS[name]
    truths, detections = random_images(name, seed=5)
    expected = np.zeros((CLASSES + 1, CLASSES + 1), int)
    for truth, found in zip(truths, detections, strict=True):
        overlaps, counts = kind.overlaps(found, truth), kind.counted(truth)
        shares, regions = kind.shares_ignored(found, truth), truth.ignored_class_ids
        likely = found.scores >= np.float32(0.3)
        pairs = [
            (not counts[m], found.class_ids[n] != truth.class_ids[m], -overlaps[n, m], m, n)
            for n in range(len(found.scores))
            for m in range(len(truth.class_ids))
            if overlaps[n, m] >= 0.4 and likely[n]
        ]
        objects, paired = set(), set()
        for unlabelled, _, _, m, n in sorted(pairs):
            if m not in objects and n not in paired:
                objects.add(m)
                paired.add(n)
                expected[truth.class_ids[m], found.class_ids[n]] += not unlabelled
        for m in np.flatnonzero(counts):
            expected[truth.class_ids[m], CLASSES] += m not in objects
        for n in set(np.flatnonzero(likely)) - paired:
            applies = [
                shares[n, place] >= 0.4
                for place in range(len(truth.ignored_xyxy))
                if regions is None or regions[place] in (-1, found.class_ids[n])
            ]
            expected[CLASSES, found.class_ids[n]] += not any(applies)
    assert expected[CLASSES].sum() > 10
    assert np.diag(expected)[:CLASSES].min() > 2
    matrix = detection_confusion(truths, detections, CLASSES, conf=0.3, iou=0.4, kind=kind)
    np.testing.assert_array_equal(matrix, expected)


@pytest.mark.parametrize("name", list(KINDS))
def test_the_area_below_the_curve_of_precision_by_recall_is_map50(name):
    truths, detections = random_images(name, seed=6)
    curves = curves_of(match_by_class(truths, detections, CLASSES, kind=KINDS[name]), ("a", "b", "c"))
    expected = mean_average_precision(truths, detections, ("a", "b", "c"), KINDS[name]).map50_by_class
    assert dict(zip(curves.class_names, curves.by_recall.mean(axis=1), strict=True)) == pytest.approx(
        expected
    )


def poses(*rows):
    """Labels of objects 10 pixels wide, from the x of their left side and the flag of their points."""
    boxes = np.array([[x, 0, x + 10, 10] for x, _ in rows], np.float32)
    points = np.array([[(x + 2, 5, flag), (x + 8, 5, flag)] for x, flag in rows], np.float32)
    return Truth(boxes, np.zeros(len(rows), np.int64), (50, 200), "image", keypoints=points)


def found_at(*places):
    """Detections of the poses at these x, likeliest first."""
    truth = poses(*((x, 0.5) for x in places))
    scores = np.linspace(0.9, 0.5, len(places)).astype(np.float32)
    return Detections(truth.boxes_xyxy, scores, truth.class_ids, keypoints=truth.keypoints)


def test_a_pose_without_labelled_keypoints_is_neither_an_object_nor_a_mistake():
    truth, found = poses((0, 2), (100, 0)), found_at(101, 0, 102, 60)
    matches = match_by_class([truth], [found], 1, kind=POINTS)
    assert matches.objects.tolist() == [1]
    # The pose at 100 can be found once: a second detection of it is wrong, as with the COCO API.
    assert matches.right.tolist() == [True, False, False]
    matrix = detection_confusion([truth], [found], 1, conf=0, iou=0.5, kind=POINTS)
    assert matrix.tolist() == [[1, 0], [2, 0]]


def test_labels_without_a_single_labelled_keypoint_cannot_be_measured():
    with pytest.raises(DatasetError, match="no object with a labelled keypoint"):
        mean_average_precision([poses((0, 0))], [found_at(0)], ("person",), POINTS)


def test_keypoints_are_kept_in_source_pixels_outside_the_image_too():
    placed = Letterbox.fit((100, 200), (64, 128))  # a scale of 0.64
    candidates = Candidates(
        torch.tensor([[-10.0, 0, 64, 32], [-9.0, 0, 64, 32], [64, 0, 128, 64]]),
        torch.tensor([0.9, 0.8, 0.7]),
        torch.tensor([0, 0, 0]),
        torch.tensor([[[-6.4, 3.2, 0.25], [64, 64, 0.5]]] * 2 + [[[12.8, 0, 1], [0, 6.4, 0]]]),
    )
    found = POINTS.keep(candidates, placed, (100, 200), DetectConfig())
    np.testing.assert_allclose(found.boxes_xyxy, [[0, 0, 100, 50], [100, 0, 200, 100]], atol=1e-4)
    expected = [[[-10, 5, 0.25], [100, 100, 0.5]], [[20, 0, 1], [0, 10, 0]]]
    np.testing.assert_allclose(found.keypoints, expected, atol=1e-4)


def test_oriented_boxes_are_suppressed_by_their_own_overlap_and_kept_in_source_pixels():
    placed = Letterbox.fit((50, 100), (100, 100))  # 25 rows of padding, scale 1
    # Two crossed boxes have nearly the same extent as axis-aligned boxes, but overlap little.
    boxes = torch.tensor([[30.0, 45, 70, 55], [30, 45, 70, 55], [31, 45, 71, 55], [30, 45, 70, 55]])
    angles = torch.tensor([np.pi / 4, 3 * np.pi / 4, np.pi / 4, np.pi / 4], dtype=torch.float32)
    candidates = Candidates(boxes, torch.tensor([0.9, 0.8, 0.7, 0.6]), torch.tensor([0, 0, 0, 1]), angles)
    found = CORNERS.keep(candidates, placed, (50, 100), DetectConfig())
    assert found.scores.tolist() == pytest.approx([0.9, 0.8, 0.6])
    assert found.class_ids.tolist() == [0, 0, 1]
    long, short = 20 * np.sqrt(0.5), 5 * np.sqrt(0.5)
    first = [
        (50 - long + short, 25 - long - short),
        (50 + long + short, 25 + long - short),
        (50 + long - short, 25 + long + short),
        (50 - long - short, 25 - long + short),
    ]
    np.testing.assert_allclose(found.corners[0], first, atol=1e-4)
    reach = long + short
    np.testing.assert_allclose(
        found.boxes_xyxy[0], [50 - reach, 25 - reach, 50 + reach, 25 + reach], atol=1e-4
    )


def test_the_overlap_of_equal_oriented_boxes_is_one_in_any_order_of_corners():
    corners = np.array([[[10, 0], [30, 20], [20, 30], [0, 10]]], np.float32)
    turned = np.roll(corners, 1, axis=1)
    assert corner_iou(corners, turned)[0, 0] == pytest.approx(1, abs=1e-6)
