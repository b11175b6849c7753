"""Experts may differ only where the reference's router nearly tied."""

import math

import pytest

from service.audits.experts import compare_experts
from service.types import ExpertActivation


def layer(active, probabilities, name="backbone.p4"):
    weights = tuple(1 / len(active) for _ in active)
    return ExpertActivation(name, len(probabilities), tuple(active), weights, tuple(probabilities), 1.0)


WANT = layer((0, 1), (0.4, 0.3, 0.25, 0.05))


@pytest.mark.parametrize(
    ("got", "tie", "differs"),
    [
        pytest.param((0, 1), 0.0, False, id="the same"),
        pytest.param((0, 2), 0.06, False, id="swapped within a tie"),
        pytest.param((0, 2), 0.04, True, id="swapped beyond a tie"),
        pytest.param((0, 3), 0.06, True, id="an improbable expert"),
        pytest.param((0,), 0.06, False, id="one less, near the cut"),
        pytest.param((1,), 0.06, True, id="without the best"),
        pytest.param((), 0.06, True, id="none"),
        pytest.param((0, 1, 2, 3), 0.06, True, id="all"),
    ],
)
def test_another_set_differs_unless_the_router_nearly_tied(got, tie, differs):
    found = compare_experts([layer(got, WANT.probabilities)], [WANT], tie=tie)
    assert bool(found) is differs
    assert all(one.where == "backbone.p4" and one.kind == "experts" for one in found)


def test_an_expert_near_the_threshold_may_run_in_only_one_answer():
    want = layer((0,), (0.6, 0.29, 0.11))
    got = layer((0, 1), (0.6, 0.31, 0.09))
    assert compare_experts([got], [want], tie=0.02, threshold=0.3) == []
    assert compare_experts([got], [want], tie=0.02) != []
    assert compare_experts([got], [want], tie=0.02, threshold=0.2) != []


def test_a_router_that_gives_no_number_differs():
    got = layer((), (math.nan,) * 4)
    (found,) = compare_experts([got], [WANT], tie=1.0)
    assert (found.kind, found.where, found.by) == ("not-a-number", "backbone.p4", None)


def test_without_experts_on_one_side_nothing_is_compared():
    assert compare_experts([], [WANT], tie=0) == compare_experts([WANT], [], tie=0) == []


def test_every_layer_that_differs_is_named():
    other = layer((2, 3), (0.9, 0.08, 0.01, 0.01), "neck.p3")
    want = layer((0, 1), (0.9, 0.08, 0.01, 0.01), "neck.p3")
    found = compare_experts([layer((0, 3), WANT.probabilities), other], [WANT, want], tie=0.1)
    assert [one.where for one in found] == ["backbone.p4", "neck.p3"]
    assert found[0].by == pytest.approx(0.25)  # expert 3 has 0.05, and the lowest chosen one 0.3
