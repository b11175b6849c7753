"""Selection of candidates from the scores of all anchors, and non-maximum suppression."""

import pytest
import torch

from training.ops.nms import class_aware_nms, select_candidates

A = (0, 0, 10, 10)
HALF = (0, 0, 10, 5)  # IoU with A is exactly 0.5
FAR = (50, 50, 60, 60)


def kept(rows, iou=0.5, max_det=100):
    """Each row is a box, a score and a class."""
    boxes = torch.tensor([row[0] for row in rows], dtype=torch.float32).reshape(-1, 4)
    scores = torch.tensor([row[1] for row in rows], dtype=torch.float32)
    class_ids = torch.tensor([row[2] for row in rows], dtype=torch.int64)
    return class_aware_nms(boxes, scores, class_ids, iou, max_det).tolist()


def test_nothing_gives_nothing():
    assert kept([]) == []


def test_one_box_stays():
    assert kept([(A, 0.3, 0)]) == [0]


def test_the_better_of_two_equal_boxes_stays():
    assert kept([(A, 0.3, 0), (A, 0.4, 0)]) == [1]


def test_equal_scores_keep_their_order():
    assert kept([(FAR, 0.4, 0), (A, 0.4, 0), (A, 0.4, 0), (HALF, 0.4, 1)]) == [0, 1, 3]


def test_boxes_of_other_classes_do_not_suppress():
    assert kept([(A, 0.4, 0), (A, 0.3, 1)]) == [0, 1]


def test_an_overlap_at_the_threshold_stays_and_above_it_goes():
    assert kept([(A, 0.9, 0), (HALF, 0.8, 0)], iou=0.5) == [0, 1]
    assert kept([(A, 0.9, 0), (HALF, 0.8, 0)], iou=0.49) == [0]


def test_a_suppressed_box_suppresses_nobody():
    chain = [((0, 0, 10, 10), 0.9, 0), ((0, 4, 10, 14), 0.8, 0), ((0, 8, 10, 18), 0.7, 0)]
    assert kept(chain, iou=0.3) == [0, 2]


@pytest.mark.parametrize(
    ("max_det", "expected"), [(0, []), (1, [1]), (2, [1, 2]), (3, [1, 2, 0]), (4, [1, 2, 0])]
)
def test_the_best_come_first_and_no_more_than_asked_for(max_det, expected):
    rows = [((20 * i, 0, 20 * i + 10, 10), score, 0) for i, score in enumerate([0.1, 0.9, 0.5])]
    assert kept(rows, max_det=max_det) == expected


def test_suppressed_boxes_do_not_count_towards_the_most_that_may_stay():
    assert kept([(A, 0.9, 0), (A, 0.8, 0), (FAR, 0.7, 0)], max_det=2) == [0, 2]


def test_candidates_are_the_best_pairs_of_anchor_and_class_of_each_image():
    boxes = torch.tensor([[A, FAR], [FAR, A]], dtype=torch.float32)
    scores = torch.tensor([[[0.1, 0.9, 0.2], [0.3, 0.0, 0.8]], [[0.0, 0.0, 0.7], [0.6, 0.0, 0.5]]])
    got_boxes, got_scores, class_ids = select_candidates(boxes, scores, limit=3)
    assert got_scores.tolist() == [pytest.approx([0.9, 0.8, 0.3]), pytest.approx([0.7, 0.6, 0.5])]
    assert class_ids.tolist() == [[1, 2, 0], [2, 0, 2]]
    assert got_boxes.tolist() == [[list(A), list(FAR), list(FAR)], [list(FAR), list(A), list(A)]]


@pytest.mark.parametrize(("limit", "count"), [(1, 1), (6, 6), (7, 6)])
def test_there_are_no_more_candidates_than_pairs(limit, count):
    boxes, scores, class_ids = select_candidates(torch.zeros(1, 2, 4), torch.rand(1, 2, 3), limit)
    assert (boxes.shape, scores.shape, class_ids.shape) == ((1, count, 4), (1, count), (1, count))
    assert class_ids.dtype == torch.int64


def test_what_else_is_told_of_an_anchor_comes_along_with_its_box():
    rows = torch.tensor([[[1, 1, 2, 2, 10], [3, 3, 4, 4, 20]]], dtype=torch.float32)
    found, _, class_ids = select_candidates(rows, torch.tensor([[[0.1, 0.4], [0.9, 0.2]]]), limit=2)
    assert found[0, :, 4].tolist() == [20, 10]
    assert class_ids[0].tolist() == [0, 1]
