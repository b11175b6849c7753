"""What counts as a difference between two answers that list every anchor."""

import numpy as np
import pytest

from training.export.contract.precision import TOLERANCES
from training.export.tasks.candidates import MIN_SCORE, answer_differences


def answer(scores):
    boxes = np.arange(4 * len(scores), dtype=np.float32).reshape(1, -1, 4)
    return {"boxes_xyxy": boxes, "class_scores": np.array([[[score, 0.0] for score in scores]], np.float32)}


@pytest.mark.parametrize(
    ("scores", "counts"),
    [
        ([MIN_SCORE, 0.5], True),
        ([MIN_SCORE * 0.99, 0.5], False),
        ([0.0, 0.0], True),  # nothing is likely: all are held to it
    ],
)
def test_a_box_counts_where_its_anchor_holds_something(scores, counts):
    want = answer(scores)
    moved = want["boxes_xyxy"] + np.array([[[2.0] * 4, [0.0] * 4]], np.float32)
    found = answer_differences(want, want | {"boxes_xyxy": moved}, TOLERANCES["f32"])
    assert found["boxes_xyxy"].largest == (2.0 if counts else 0.0)


def test_a_score_counts_wherever_it_is():
    want, got = answer([0.0, 0.5]), answer([0.005, 0.5])
    assert answer_differences(want, got, TOLERANCES["f32"])["class_scores"].largest == pytest.approx(0.005)


@pytest.mark.parametrize(("scores", "boxes"), [([0.5, 0.5], 2), ([0.5, 0.0], 1), ([0.0, 0.0], 2)])
def test_it_says_how_many_boxes_were_compared(scores, boxes):
    want = answer(scores)
    assert answer_differences(want, want, TOLERANCES["f32"])["boxes_xyxy"].compared == boxes
