"""Boxes are matched by class and IoU; what correct engines may decide differently does not count."""

import numpy as np
import pytest

from service.audits.boxes import BoxRules, compare_boxes
from service.tasks.detect import Detections

NAMES = ("red", "green")
BOX = (10, 10, 50, 50)
FAR = (100, 100, 140, 140)
NEAR = (30, 10, 70, 50)  # IoU with BOX: 20 x 40 of 2 x 40 x 40 - 20 x 40, so 1/3


def boxes(*rows):
    """Return detections from rows (box, score, class id)."""
    return Detections(
        np.array([row[0] for row in rows], np.float32).reshape(-1, 4),
        np.array([row[1] for row in rows], np.float32),
        np.array([row[2] for row in rows], np.int64),
    )


def compare(got, want, *, conf=0.25, max_det=100, agnostic=False):
    rules = BoxRules(
        pixels=2.0, score=0.1, conf=lambda class_id: conf, max_det=max_det, agnostic=agnostic, names=NAMES
    )
    found = compare_boxes(boxes(*got), boxes(*want), rules)
    return [(one.kind, one.where) for one in found.differences]


def moved(pixels):
    return tuple(edge + pixels for edge in BOX)


@pytest.mark.parametrize(
    ("got", "want", "differences"),
    [
        pytest.param([], [], [], id="nothing in either"),
        pytest.param([(BOX, 0.9, 0)], [(BOX, 0.9, 0)], [], id="equal"),
        pytest.param([(moved(2), 0.9, 0)], [(BOX, 0.9, 0)], [], id="as far as allowed"),
        pytest.param([(moved(3), 0.9, 0)], [(BOX, 0.9, 0)], [("box", "red, box 0")], id="too far"),
        pytest.param([(BOX, 0.81, 0)], [(BOX, 0.9, 0)], [], id="score within the limit"),
        pytest.param([(BOX, 0.7, 0)], [(BOX, 0.9, 0)], [("score", "red, box 0")], id="score beyond it"),
        pytest.param([], [(BOX, 0.9, 1)], [("missing", "green, box 0")], id="missing"),
        pytest.param([(BOX, 0.9, 1)], [], [("extra", "green, box 0")], id="extra"),
        pytest.param([], [(BOX, 0.34, 0)], [], id="missing, but near conf"),
        pytest.param([], [(BOX, 0.36, 0)], [("missing", "red, box 0")], id="missing, not near conf"),
        pytest.param(
            [(BOX, 0.9, 1)],
            [(BOX, 0.9, 0)],
            [("missing", "red, box 0"), ("extra", "green, box 0")],
            id="another class",
        ),
        pytest.param(
            [(BOX, 0.9, 0)], [(BOX, 0.9, 0), (NEAR, 0.8, 0)], [], id="suppressed in one of the answers"
        ),
        pytest.param(
            [(BOX, 0.9, 1)],
            [(BOX, 0.9, 1), (NEAR, 0.8, 0)],
            [("missing", "red, box 1")],
            id="no suppression across classes",
        ),
        pytest.param(
            [(NEAR, 0.9, 0)],
            [(BOX, 0.9, 0)],
            [("missing", "red, box 0"), ("extra", "red, box 0")],
            id="moved so far that no boxes pair",
        ),
        pytest.param(
            [(FAR, 0.9, 0), (BOX, 0.8, 0)], [(BOX, 0.85, 0), (FAR, 0.84, 0)], [], id="in another order"
        ),
    ],
)
def test_two_answers_differ_only_by_what_rounding_cannot_explain(got, want, differences):
    assert compare(got, want) == differences


def test_a_full_answer_may_lack_boxes_with_scores_near_its_lowest():
    want = [(BOX, 0.9, 0), (FAR, 0.65, 0)]
    assert compare([(BOX, 0.6, 0)], [(BOX, 0.6, 0), (FAR, 0.65, 0)], max_det=1) == []
    assert compare([(BOX, 0.9, 0)], want, max_det=2) == [("missing", "red, box 1")]


def test_agnostic_suppression_may_drop_a_box_for_one_of_another_class():
    got, want = [(BOX, 0.9, 1)], [(BOX, 0.9, 1), (NEAR, 0.8, 0)]
    assert compare(got, want, agnostic=True) == []
    assert compare(got, want) == [("missing", "red, box 1")]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_never_agree(bad):
    assert compare([((bad, 10, 50, 50), 0.9, 0)], [(BOX, 0.9, 0)])
    assert compare([(BOX, bad, 0)], [(BOX, 0.9, 0)]) == [("score", "red, box 0")]


def test_the_size_of_a_difference_is_told_beside_its_limit():
    rules = BoxRules(
        pixels=2.0, score=0.1, conf=lambda class_id: 0.25, max_det=9, agnostic=False, names=NAMES
    )
    found = compare_boxes(boxes((moved(5), 0.9, 0)), boxes((BOX, 0.9, 0)), rules)
    assert (found.differences[0].by, found.differences[0].limit) == (5.0, 2.0)
    assert found.pairs == ((0, 0),)
