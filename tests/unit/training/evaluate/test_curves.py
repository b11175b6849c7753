"""Precision, recall and F1 by confidence, of matches that can be checked by hand."""

import numpy as np
import pytest

from tests.unit.training.evaluate.test_bootstrap import NAMES, scenes
from training.data.evaluation import Truth
from training.evaluate.curves import CONFIDENCES, curves_of
from training.evaluate.detections import Detections
from training.evaluate.matches import match_by_class
from training.evaluate.mean_ap import mean_average_precision


def truth(boxes, class_ids, ignored=(), ignored_ids=None):
    regions = np.array(ignored, np.float32).reshape(-1, 4)
    ids = None if ignored_ids is None else np.array(ignored_ids)
    return Truth(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(class_ids, np.int64), (99, 99), "", regions, ids
    )


def found(boxes, scores, class_ids):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    return Detections(boxes, np.array(scores, np.float32), np.array(class_ids, np.int64))


A, B, FAR = [0, 0, 10, 10], [20, 0, 30, 10], [60, 60, 70, 70]


def at(confidence):
    return int(np.abs(CONFIDENCES - confidence).argmin())


def test_two_of_three_objects_are_found_beside_one_mistake():
    truths = [truth([A, B], [0, 0]), truth([A], [0])]
    detections = [found([A, FAR], [0.9, 0.5], [0, 0]), found([A], [0.3], [0])]
    curves = curves_of(match_by_class(truths, detections, 1), ("cat",))
    assert curves.objects == (3,)
    for confidence, precision, recall in [
        (0.95, 0, 0),
        (0.7, 1, 1 / 3),
        (0.4, 1 / 2, 1 / 3),
        (0.2, 2 / 3, 2 / 3),
    ]:
        assert curves.precision[0, at(confidence)] == pytest.approx(precision)
        assert curves.recall[0, at(confidence)] == pytest.approx(recall)
    assert curves.f1.max() == pytest.approx(2 / 3)
    assert CONFIDENCES[curves.best] == pytest.approx(0.15), "the middle of 0 to 0.3"
    assert curves.best_by_class == [pytest.approx(0.15)]


def test_a_class_that_nobody_labelled_is_left_out_and_one_that_nobody_found_scores_zero():
    truths = [truth([A, B], [0, 2])]
    detections = [found([A, B], [0.9, 0.8], [0, 1])]
    figures = curves_of(match_by_class(truths, detections, 3), ("cat", "dog", "owl")).at_best()
    assert list(figures["by_class"]) == ["cat", "owl"]
    assert figures["by_class"]["owl"]["f1"] == 0
    assert figures["precision"] == figures["recall"] == pytest.approx(1 / 2, abs=1e-6)


def test_of_two_detections_of_an_object_the_second_is_wrong():
    matches = match_by_class([truth([A], [0])], [found([A, A], [0.4, 0.9], [0, 0])], 1)
    assert matches.scores.tolist() == pytest.approx([0.9, 0.4])
    assert matches.right.tolist() == [True, False]


def test_overlaps_count_from_the_limit_on():
    half = [0, 0, 10, 5]  # IoU 0.5 with A
    less = [0, 0, 10, 4.99]
    for box, right in ((half, True), (less, False)):
        assert match_by_class([truth([A], [0])], [found([box], [0.9], [0])], 1).right.tolist() == [right]


@pytest.mark.parametrize(
    ("ignored_ids", "left_out"), [(None, True), ([-1], True), ([0], True), ([1], False)], ids=str
)
def test_a_detection_in_an_ignored_region_of_its_class_counts_neither_way(ignored_ids, left_out):
    made = truth([A], [0], [[50, 50, 80, 80]], ignored_ids)
    matches = match_by_class([made], [found([A, FAR], [0.9, 0.8], [0, 0])], 2)
    assert matches.right.tolist() == ([True] if left_out else [True, False])


def test_images_without_detections_count_their_objects():
    nothing = found([], [], [])
    curves = curves_of(match_by_class([truth([A], [0]), truth([], [])], [nothing, nothing], 1), ("cat",))
    assert curves.f1.max() == 0
    assert curves.at_best()["recall"] == 0
    assert curves.by_recall.max() == 0


@pytest.mark.parametrize("regions", [False, True])
def test_the_area_under_precision_by_recall_is_the_map_of_the_coco_api(regions):
    truths, detections = scenes(1, 1.5, regions=regions)
    crowded = Detections(
        *(np.repeat(each, 60, axis=0) for each in vars(detections[0]).values() if each is not None)
    )
    detections = [crowded, *detections[1:]]  # more than 100 of a class: the API leaves the worst out
    curves = curves_of(match_by_class(truths, detections, 3), NAMES)
    wanted = mean_average_precision(truths, detections, NAMES).map50_by_class
    for row, name in enumerate(curves.class_names):
        assert curves.by_recall[row].mean() == pytest.approx(wanted[name], abs=1e-9)
