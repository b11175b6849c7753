"""Differences between two answers, for detectors that return all anchors and for classifiers."""

import numpy as np
import pytest

from training.export.contract.precision import TOLERANCES, Tolerance
from training.export.proof.parity import answer_differences
from training.export.tasks.candidates import MIN_SCORE
from training.export.tasks.classify import CLASSIFY
from training.export.tasks.detect import DETECT


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
    found = answer_differences(DETECT, want, want | {"boxes_xyxy": moved}, TOLERANCES["f32"])
    assert found["boxes_xyxy"].largest == (2.0 if counts else 0.0)


def test_a_score_counts_wherever_it_is():
    want, got = answer([0.0, 0.5]), answer([0.005, 0.5])
    assert answer_differences(DETECT, want, got, TOLERANCES["f32"])["class_scores"].largest == pytest.approx(
        0.005
    )


@pytest.mark.parametrize(("scores", "boxes"), [([0.5, 0.5], 2), ([0.5, 0.0], 1), ([0.0, 0.0], 2)])
def test_it_says_how_many_boxes_were_compared(scores, boxes):
    want = answer(scores)
    assert answer_differences(DETECT, want, want, TOLERANCES["f32"])["boxes_xyxy"].compared == boxes


@pytest.mark.parametrize(
    ("other", "largest", "excess"),
    [
        ([0.5, 0.3, 0.2], 0.0, 0.0),
        ([0.49, 0.31, 0.2], 0.01, 0.01),  # of each class, the largest
        ([0.4, 0.4, 0.2], 0.1, 0.1),  # of equal ones the first is the likelier
        ([0.4, 0.41, 0.19], 0.11, np.inf),  # another comes first, which was less likely by 0.2
    ],
)
def test_every_probability_counts_and_above_all_the_likeliest(other, largest, excess):
    want, got = ({"probabilities": np.float32([each])} for each in ([0.5, 0.3, 0.2], other))
    found = answer_differences(CLASSIFY, want, got, Tolerance(probabilities=0.15))["probabilities"]
    assert found.excess == pytest.approx(excess, abs=1e-6)
    assert found.largest == pytest.approx(largest, abs=1e-6)


def test_classes_as_likely_as_each_other_within_the_tolerance_may_swap_places():
    want, got = ({"probabilities": np.float32([each])} for each in ([0.5, 0.4, 0.1], [0.44, 0.46, 0.1]))
    found = answer_differences(CLASSIFY, want, got, Tolerance(probabilities=0.11))["probabilities"]
    assert found.excess == pytest.approx(0.06, abs=1e-6)


def test_fewer_classes_and_no_numbers_are_no_match():
    want = {"probabilities": np.float32([[0.5, 0.5]])}
    fewer = answer_differences(CLASSIFY, want, {"probabilities": np.float32([[1.0]])}, TOLERANCES["f32"])
    assert fewer["probabilities"].excess == np.inf
    none = answer_differences(CLASSIFY, want, {"probabilities": np.float32([[np.nan, 1]])}, TOLERANCES["f32"])
    assert np.isnan(none["probabilities"].excess)
