"""A detector's outputs become detections in pixels of the source image."""

import numpy as np

from service.pipeline.letterbox import Letterbox
from service.pipeline.postprocess import kept_in_source, select_candidates
from service.types import Candidates

IDENTITY = Letterbox(1.0, 0, 0)


def candidates(*rows):
    """Each row is x1, y1, x2, y2, score, class."""
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Candidates(table[:, :4], table[:, 4], table[:, 5].astype(np.int64))


def every_anchor(class_scores):
    """Return boxes that say which anchor they are of, and the scores."""
    boxes = np.arange(len(class_scores), dtype=np.float32)[:, None].repeat(4, axis=1)
    return boxes, np.array(class_scores, np.float32)


def test_the_best_pairs_of_anchor_and_class_are_selected():
    selected, anchors = select_candidates(*every_anchor([[0.1, 0.8], [0.9, 0.2], [0.3, 0.7]]), 4)
    assert selected.scores.round(3).tolist() == np.array([0.9, 0.8, 0.7, 0.3], np.float32).round(3).tolist()
    assert selected.class_ids.tolist() == [0, 1, 1, 0]
    assert selected.boxes_xyxy[:, 0].tolist() == anchors.tolist() == [1, 0, 2, 2]


def test_equal_scores_are_selected_in_order():
    selected, _ = select_candidates(*every_anchor([[0.5, 0.5], [0.5, 0.9]]), 2)
    assert list(zip(selected.boxes_xyxy[:, 0], selected.class_ids, strict=True)) == [(1, 1), (0, 0)]


def test_fewer_pairs_than_asked_for_are_all_selected():
    assert len(select_candidates(*every_anchor([[0.5, 0.4]]), 9)[1]) == 2


def test_boxes_are_mapped_back_and_clipped_to_the_image():
    found = kept_in_source(
        candidates((-10, 20, 100, 60, 0.9, 0)),
        Letterbox(scale=0.5, left=0, top=16),
        (64, 128),
        conf=0.5,
        iou=0.5,
        max_det=10,
    )
    assert found.boxes_xyxy.tolist() == [[0, 8, 128, 64]]
    assert found.rows.tolist() == [0]


def test_a_class_that_is_not_wanted_is_gone():
    rows = candidates((0, 0, 10, 10, 0.9, 0), (0, 0, 10, 10, 0.8, 1))
    found = kept_in_source(rows, IDENTITY, (20, 20), conf=0.5, iou=0.5, max_det=1, class_ids=frozenset({1}))
    assert found.rows.tolist() == [1], "counted among all candidates, the unwanted ones as well"


def test_no_candidates_are_no_detections():
    found = kept_in_source(candidates(), IDENTITY, (20, 20), conf=0.5, iou=0.5, max_det=1)
    assert (len(found.rows), found.boxes_xyxy.shape) == (0, (0, 4))


def test_single_classes_have_their_own_lowest_score():
    rows = candidates((0, 0, 10, 10, 0.6, 0), (0, 0, 10, 10, 0.4, 1), (20, 0, 30, 10, 0.6, 2))
    limits = {"conf": 0.5, "iou": 0.5, "max_det": 10}
    found = kept_in_source(rows, IDENTITY, (40, 40), **limits, class_conf={0: 0.7, 1: 0.4})
    assert found.rows.tolist() == [2, 1]
    found = kept_in_source(rows, IDENTITY, (40, 40), **limits, class_conf={1: 0.41}, class_ids={0, 1})
    assert found.rows.tolist() == [0]


def test_a_box_below_the_limit_of_its_class_suppresses_no_box_of_another():
    rows = candidates((0, 0, 10, 10, 0.8, 0), (0, 0, 10, 10, 0.6, 1))
    limits = {"conf": 0.5, "iou": 0.5, "max_det": 10, "agnostic": True}
    assert kept_in_source(rows, IDENTITY, (20, 20), **limits).rows.tolist() == [0]
    assert kept_in_source(rows, IDENTITY, (20, 20), **limits, class_conf={0: 0.9}).rows.tolist() == [1]
