"""Confusion matrices of a few objects: rows are labels, columns what was found."""

import numpy as np

from tests.unit.training.evaluate.test_curves import FAR, A, B, found, truth
from training.evaluate.confusion import class_confusion, detection_confusion


def matrix(truths, detections, conf=0.25, iou=0.45):
    return detection_confusion(truths, detections, 2, conf=conf, iou=iou).tolist()


def test_right_wrong_missed_and_imagined_objects_have_their_cells():
    truths = [truth([A, B], [0, 0]), truth([A, B], [1, 1])]
    detections = [found([A, B], [0.9, 0.9], [0, 1]), found([A, FAR], [0.9, 0.9], [1, 0])]
    assert matrix(truths, detections) == [[1, 1, 0], [0, 1, 1], [1, 0, 0]]


def test_an_object_found_in_its_class_is_right_whatever_overlaps_more():
    shifted = [1, 0, 11, 10]
    assert matrix([truth([A], [0])], [found([A, shifted], [0.9, 0.5], [1, 0])]) == [
        [1, 0, 0],
        [0, 0, 0],
        [0, 1, 0],
    ]


def test_scores_and_overlaps_count_from_their_limits_on():
    made = [truth([A], [0])]
    half = [0, 0, 10, 5]
    assert matrix(made, [found([half], [0.25], [0])], iou=0.5) == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert matrix(made, [found([half], [0.25], [0])], iou=0.51) == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]
    assert matrix(made, [found([half], [0.249], [0])], iou=0.5) == [[0, 0, 1], [0, 0, 0], [0, 0, 0]]


def test_a_detection_in_an_ignored_region_is_not_imagined():
    made = [truth([], [], [[50, 50, 80, 80]])]
    assert matrix(made, [found([FAR, A], [0.9, 0.9], [0, 1])]) == [[0, 0, 0], [0, 0, 0], [0, 1, 0]]


def test_every_object_is_in_its_row_once():
    truths = [truth([A, A, B], [0, 1, 1])]
    detections = [found([A] * 5 + [B], [0.9] * 6, [0, 0, 1, 1, 1, 0])]
    got = detection_confusion(truths, detections, 2, conf=0.25, iou=0.45)
    assert got[:2].sum(axis=1).tolist() == [1, 2]
    assert got[:, :2].sum() == 6


def test_a_classifiers_matrix_counts_the_likeliest_class():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]])
    assert class_confusion(probabilities, np.array([0, 1, 0])).tolist() == [[1, 1], [0, 1]]
