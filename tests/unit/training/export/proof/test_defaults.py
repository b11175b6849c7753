"""The defaults of a graph's controls: the fewest experts whose metric on training images stays the same."""

import math
from dataclasses import replace

import pytest

from tests.training_builders import plain_model
from training.export.proof.defaults import Choice, Setting, candidates, choose, with_defaults
from training.models.mixture.routing import RoutingControls


def setting(threshold, metric, gflops, ms=None, top_k=2):
    """Return a setting; by default, its time falls with its operations."""
    return Setting(
        top_k=top_k,
        weight_threshold=threshold,
        metric=metric,
        expert_share=0.5,
        gflops=gflops,
        ms=10 * gflops if ms is None else ms,
    )


TRAINED = setting(0, 0.5, 3.0)


def chosen(*others, trained=TRAINED):
    return choose([trained, *others])[0]


def test_the_fewest_operations_win_as_long_as_the_metric_stays():
    kept, less, too_low = setting(0.1, 0.5, 2.7), setting(0.2, 0.4995, 2.5), setting(0.4, 0.4985, 2.3)
    assert chosen(kept, less, too_low) == less
    assert chosen(too_low, less, kept) == less, "whatever the order"
    assert "in 0.83 of the time" in choose([TRAINED, kept, less, too_low])[1]


@pytest.mark.parametrize(("metric", "may"), [(0.499, True), (0.4989, False), (0.9, True)])
def test_the_metric_may_fall_by_a_tenth_of_a_point(metric, may):
    other = setting(0.3, metric, 2.0)
    assert chosen(other) == (other if may else TRAINED)


def test_nothing_else_within_the_limit_keeps_the_trained_setting():
    found, reason = choose([TRAINED, setting(0.1, 0.4, 2.7), setting(0, 0.6, 5.0, top_k=4)])
    assert found == TRAINED
    assert "no setting with fewer GFLOPs keeps the metric within 0.001" in reason


def test_the_only_setting_is_kept():
    assert chosen() == TRAINED


def test_of_equal_operations_the_better_metric_wins_and_then_the_first():
    worse, better = setting(0.1, 0.4995, 2.5), setting(0.3, 0.501, 2.5, top_k=4)
    same = replace(better, top_k=2)
    assert chosen(worse, better) == better
    assert chosen(worse, better, same) == better
    assert chosen(worse, same, better) == same


def test_equal_operations_are_no_gain():
    assert chosen(setting(0.05, 0.6, TRAINED.gflops)) == TRAINED


@pytest.mark.parametrize(("ms", "may"), [(29.0, True), (29.2, False), (60.0, False)])
def test_fewer_operations_that_take_as_long_are_no_gain(ms, may):
    found, reason = choose([TRAINED, other := setting(0.3, 0.5, 2.0, ms=ms)])
    assert found == (other if may else TRAINED)
    assert may or f"takes {ms / 30:.2f} of the time" in reason


def test_a_setting_at_which_rounding_changes_the_experts_is_passed_over():
    unlike, like = setting(0.4, 0.5, 2.3), setting(0.2, 0.5, 2.5)
    settings = [TRAINED, replace(unlike, same_experts=0.979), replace(like, same_experts=0.98)]
    found, reason = choose(settings, 0.98)
    assert found == settings[2]
    assert "left out for other experts by rounding: 1 of 2" in reason
    assert choose([TRAINED, settings[1], like], 0.98)[0] == like, "not compared yet"
    found, reason = choose(settings[:2], 0.98)
    assert found == TRAINED
    assert "keeps metric and experts; left out for other experts by rounding: 1 of 1" in reason


@pytest.mark.parametrize("metric", [0.0, 0.09, math.nan])
def test_a_model_that_finds_hardly_anything_keeps_its_setting(metric):
    trained = setting(0, metric, 3.0)
    found, reason = choose([trained, setting(0.4, metric, 2.0)])
    assert found == trained
    assert "too low to choose by" in reason


def test_each_threshold_is_tried_with_the_trained_top_k_and_with_all_experts():
    model = plain_model(num_experts=4, top_k=2)
    found = candidates(model)
    trained, experts = model.config.top_k, len(model.mixture_layers()["backbone.p3"].experts)
    assert found[0] == RoutingControls(trained)
    assert {each.top_k for each in found} == {trained, experts}
    assert len(found) == len(set(found)) == 12
    assert {each.weight_threshold for each in found} == {0, 0.05, 0.1, 0.2, 0.3, 0.4}


def test_a_threshold_that_the_model_was_trained_with_is_the_first():
    model = with_defaults(plain_model(num_experts=4), RoutingControls(2, 0.15))
    assert candidates(model)[0] == RoutingControls(2, 0.15)
    assert len(candidates(model)) == 13


def test_a_threshold_is_not_tried_with_one_expert_where_it_changes_nothing():
    found = candidates(plain_model(num_experts=4, top_k=1))
    assert [each for each in found if each.top_k == 1] == [RoutingControls(1)]
    assert len(found) == 7


def test_new_defaults_leave_the_model_and_its_weights_alone():
    model = plain_model()
    before = model.default_controls()
    changed = with_defaults(model, RoutingControls(1, 0.25))
    assert changed.default_controls() == RoutingControls(1, 0.25)
    assert model.default_controls() == before
    pairs = zip(model.parameters(), changed.parameters(), strict=True)
    assert all(one is other for one, other in pairs)


def test_the_table_marks_the_chosen_setting():
    settings = (TRAINED, replace(setting(0.3, 0.4999, 2.5), same_experts=0.98))
    choice = Choice(settings[1].controls, "why", "cells train", 64, "map50_95", settings)
    heading, first, second = choice.table.splitlines()
    assert heading.split() == [
        "top_k",
        "threshold",
        "map50_95",
        "experts",
        "run",
        "GFLOPs",
        "ms",
        "same",
        "experts",
    ]
    assert first.split() == ["2", "0", "0.5000", "50%", "3.00", "30.0", "-"]
    assert second.split() == ["*", "2", "0.3", "0.4999", "50%", "2.50", "25.0", "98.0%"]
