"""The statistics behind drift, against values from tables and against simple counting."""

import numpy as np
import pytest

from service.routing.statistics import (
    Cusum,
    chi2_sf,
    divergence_bits,
    diversity,
    g_test_p,
    hotelling_p,
    jain,
    normal_sf2,
)


@pytest.mark.parametrize(
    ("x", "degrees", "p"),
    [(3.841, 1, 0.05), (5.991, 2, 0.05), (24.996, 15, 0.05), (37.697, 15, 0.001), (0.0, 4, 1.0)],
)
def test_the_chi_square_distribution_is_that_of_the_tables(x, degrees, p):
    assert chi2_sf(x, degrees) == pytest.approx(p, rel=1e-3)


def test_a_chi_square_value_beyond_all_floats_has_probability_0():
    assert chi2_sf(1e9, 3) == 0.0


def test_a_normal_variable_is_beyond_1_96_deviations_in_one_of_twenty_cases():
    assert normal_sf2(1.96) == pytest.approx(0.05, rel=1e-3)
    assert normal_sf2(-1.96) == normal_sf2(1.96)


def test_equal_counts_show_no_difference():
    assert g_test_p({1: 50, 2: 50}, {1: 500, 2: 500}) == pytest.approx(1.0)
    assert divergence_bits({1: 5, 2: 5}, {1: 50, 2: 50}) == 0.0


def test_disjoint_counts_differ_by_one_bit():
    assert divergence_bits({1: 10}, {2: 30}) == 1.0
    assert g_test_p({1: 100}, {2: 100}) < 1e-20


def test_the_g_test_agrees_with_a_known_table():
    # 30 of 100 against 50 of 100: G = 8.40, one degree of freedom.
    assert g_test_p({1: 30, 2: 70}, {1: 50, 2: 50}) == pytest.approx(0.0039, rel=0.05)


def test_rare_categories_are_counted_together_and_raise_no_alarm():
    many_singles = dict.fromkeys(range(10, 60), 1)
    assert g_test_p({1: 950, **many_singles}, {1: 950, **{key + 100: 1 for key in many_singles}}) > 0.5


def test_a_mean_that_moves_by_nothing_is_certainly_no_drift():
    assert hotelling_p(np.zeros(3), np.eye(3), 500, 500) == 1.0


def test_the_uncertainty_of_a_small_baseline_is_part_of_the_test():
    shift = np.full(3, 0.3)
    assert hotelling_p(shift, np.eye(3), 500, 1000) < 1e-12
    assert hotelling_p(shift, np.eye(3), 500, 20) > 0.1


def test_hotellings_p_values_are_uniform_without_drift():
    rng = np.random.default_rng(0)
    ps = []
    for _ in range(2000):
        base, sample = rng.normal(size=(200, 4)), rng.normal(size=(100, 4))
        inverse = np.linalg.inv(np.cov(base.T))
        ps.append(hotelling_p(sample.mean(0) - base.mean(0), inverse, 100, 200))
    assert np.mean(np.array(ps) < 0.1) == pytest.approx(0.1, abs=0.03)
    assert np.mean(np.array(ps) < 0.01) == pytest.approx(0.01, abs=0.008)


def test_equal_shares_are_fully_diverse_and_one_expert_is_a_fourth_of_four():
    assert diversity(np.full(4, 0.5)) == pytest.approx(1.0)
    assert jain(np.full(4, 0.5)) == pytest.approx(1.0)
    alone = np.array([1.0, 0, 0, 0])
    assert diversity(alone) == pytest.approx(0.25)
    assert jain(alone) == pytest.approx(0.25)
    assert diversity(np.zeros(4)) == jain(np.zeros(4)) == 0.0


def test_a_cumulative_sum_notices_a_slow_rise_and_stays_quiet_without_one():
    rng, quiet, risen = np.random.default_rng(0), Cusum(0.1, 1e6), Cusum(0.1, 1e6)
    for _ in range(100_000):
        quiet.add(rng.random(1))
        assert not quiet.exceeded
    for _count in range(1000):
        risen.add(np.minimum(1.0, rng.random(1) + 0.2))
        if risen.exceeded:
            break
    assert 20 < _count < 200


def test_the_limit_of_a_cumulative_sum_is_reached_as_rarely_as_promised():
    rng, alarms = np.random.default_rng(1), 0
    for _ in range(30):
        watch = Cusum(0.05, 2000)
        for values in rng.random((2000, 1)):
            watch.add(values)
            if watch.exceeded:
                alarms += 1
                break
    assert 0 < alarms < 24  # by the promise, fewer than two thirds of the runs
