"""Non-maximum suppression keeps the best of several overlapping boxes of a class."""

import numpy as np
import pytest

from service.pipeline.nms import suppress
from service.types import Candidates

A = (0, 0, 10, 10)
HALF = (0, 0, 10, 5)  # IoU with A is exactly 0.5
FAR = (50, 50, 60, 60)


def kept(rows, conf=0.0, iou=0.5, max_det=100, agnostic=False):
    """Each row is a box, a score and a class."""
    boxes = np.array([row[0] for row in rows], np.float32).reshape(-1, 4)
    scores = np.array([row[1] for row in rows], np.float32)
    class_ids = np.array([row[2] for row in rows], np.int64)
    candidates = Candidates(boxes, scores, class_ids)
    return suppress(candidates, conf, iou, max_det, agnostic=agnostic).tolist()


def test_nothing_gives_nothing():
    assert kept([]) == []


def test_one_box_stays():
    assert kept([(A, 0.3, 0)]) == [0]


def test_the_better_of_two_equal_boxes_stays():
    assert kept([(A, 0.3, 0), (A, 0.4, 0)]) == [1]


def test_equal_scores_keep_the_first():
    assert kept([(A, 0.4, 0), (A, 0.4, 0), (FAR, 0.4, 0)]) == [0, 2]


def test_boxes_of_other_classes_do_not_suppress():
    assert kept([(A, 0.4, 0), (A, 0.3, 1)]) == [0, 1]


def test_boxes_of_other_classes_suppress_if_classes_do_not_count():
    rows = [(A, 0.4, 0), (A, 0.5, 1), (FAR, 0.3, 2)]
    assert kept(rows, agnostic=True) == [1, 2]
    assert kept([(A, 0.9, 0), (HALF, 0.8, 1)], iou=0.5, agnostic=True) == [0, 1]
    assert kept([(A, 0.9, 0), (HALF, 0.8, 1)], iou=0.49, agnostic=True) == [0]


def test_every_box_can_have_its_own_lowest_score():
    rows = [(A, 0.3, 0), (FAR, 0.3, 1)]
    assert kept(rows, conf=np.array([0.3, 0.3001], np.float32)) == [0]


def test_an_overlap_at_the_limit_stays_and_above_it_goes():
    assert kept([(A, 0.9, 0), (HALF, 0.8, 0)], iou=0.5) == [0, 1]
    assert kept([(A, 0.9, 0), (HALF, 0.8, 0)], iou=0.49) == [0]


def test_a_suppressed_box_suppresses_nobody():
    chain = [((0, 0, 10, 10), 0.9, 0), ((0, 4, 10, 14), 0.8, 0), ((0, 8, 10, 18), 0.7, 0)]
    assert kept(chain, iou=0.3) == [0, 2]


def test_a_score_at_the_limit_counts():
    assert kept([(A, 0.25, 0), (FAR, 0.2499, 0)], conf=0.25) == [0]


def test_the_best_come_first_and_no_more_than_asked_for():
    rows = [((20 * i, 0, 20 * i + 10, 10), score, 0) for i, score in enumerate([0.1, 0.9, 0.5])]
    assert kept(rows) == [1, 2, 0]
    assert kept(rows, max_det=2) == [1, 2]


@pytest.mark.parametrize("iou", [0.0, 1.0])
def test_boxes_without_an_area_do_not_disturb(iou):
    assert kept([((5, 5, 5, 5), 0.9, 0), ((5, 5, 5, 5), 0.8, 0)], iou=iou) == [0, 1]
