"""Two intervals, over images and over seeds, decide which of two variants is ahead."""

from statistics import fmean, stdev

import numpy as np
import pytest
from scipy import stats

from tests.unit.training.evaluate.test_bootstrap import IMAGES, scenes
from training.errors import DatasetError
from training.evaluate.bootstrap import ResampledMap, paired_bootstrap
from training.evaluate.seeds import Interval, Lead, lead, t_interval, t_quantile

AHEAD, BEHIND, OPEN = Interval(0.01, 0.03), Interval(-0.03, -0.01), Interval(-0.01, 0.03)


def of(images, seeds, values=(0.02, 0.02, 0.02)):
    zeros = (0.3,) * len(values)
    return Lead(tuple(range(len(values))), tuple(0.3 + v for v in values), zeros, images, seeds, 10)


@pytest.mark.parametrize("degrees", [*range(1, 12), 30, 101])
def test_the_quantile_is_that_of_students_distribution(degrees):
    assert t_quantile(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=1e-9)


def test_the_quantile_of_three_seeds_is_that_of_the_tables():
    assert round(t_quantile(2), 3) == 4.303


@pytest.mark.parametrize("values", [(0.01, 0.02, 0.03), (0.2, -0.1), (0.5, 0.1, -0.4, 0.3, 0.2)])
def test_the_interval_over_seeds_is_that_of_scipy(values):
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert t_interval(values) == pytest.approx(tuple(expected), rel=1e-9)


def test_an_interval_that_can_be_computed_by_hand():
    low, high = t_interval((0.01, 0.02, 0.03))  # mean 0.02, standard deviation 0.01
    assert (low, high) == pytest.approx(
        (0.02 - 4.30265 * 0.01 / 3**0.5, 0.02 + 4.30265 * 0.01 / 3**0.5), rel=1e-5
    )


@pytest.mark.parametrize(
    ("interval", "ahead"),
    [((0.0, 0.1), None), ((-0.1, 0.0), None), ((1e-9, 0.1), "first"), ((-0.1, -1e-9), "second")],
)
def test_an_interval_that_ends_at_zero_decides_nothing(interval, ahead):
    assert Interval(*interval).ahead == ahead


@pytest.mark.parametrize(
    ("images", "seeds", "verdict"),
    [
        pytest.param(AHEAD, AHEAD, "first", id="both above"),
        pytest.param(BEHIND, BEHIND, "second", id="both below"),
        pytest.param(OPEN, AHEAD, None, id="images open"),
        pytest.param(AHEAD, OPEN, None, id="seeds open"),
        pytest.param(AHEAD, BEHIND, None, id="against each other"),
    ],
)
def test_a_variant_is_ahead_only_by_images_and_by_seeds(images, seeds, verdict):
    assert of(images, seeds).verdict == verdict


def test_fewer_than_three_seeds_decide_nothing():
    two = of(AHEAD, AHEAD, (0.02, 0.02))
    assert (two.verdict, two.choice((1.0, 2.0))) == (None, None)
    assert of(AHEAD, None, (0.02,)).verdict is None


@pytest.mark.parametrize(
    ("values", "gflops", "choice"),
    [
        pytest.param(
            (-0.004, -0.005, -0.006), (1.0, 2.0), "first", id="cheaper, exactly half a point behind"
        ),
        pytest.param((-0.005, -0.005, -0.0054), (1.0, 2.0), "second", id="cheaper, further behind"),
        pytest.param((0.005, 0.005, 0.005), (2.0, 1.0), "second", id="the second is cheaper"),
        pytest.param((0.005, 0.005, 0.0054), (2.0, 1.0), "first", id="the second is too far behind"),
        pytest.param((0.01, 0.02, 0.0), (1.0, 2.0), "first", id="cheaper and better"),
        pytest.param((-0.001, 0.0, 0.0), (1.0, 1.0), "second", id="equal costs: the better one"),
    ],
)
def test_if_nothing_is_decided_the_cheaper_one_is_taken_up_to_half_a_point(values, gflops, choice):
    assert of(OPEN, OPEN, values).choice(gflops) == choice


def test_who_is_ahead_is_taken_whatever_it_costs():
    assert of(AHEAD, AHEAD).choice((9.0, 1.0)) == "first"
    assert of(BEHIND, BEHIND, (-0.001,) * 3).choice((1.0, 9.0)) == "second"


def test_the_lead_is_the_mean_over_seeds_on_shared_samples_of_images():
    truths, _ = scenes(0, 1.0)
    first = [scenes(seed, 1.0)[1] for seed in (1, 2, 3)]
    second = [scenes(seed, 5.0)[1] for seed in (4, 5, 6)]
    found = lead(truths, list(zip(first, second, strict=True)), (0, 1, 2), draws=40)
    maps = [[ResampledMap(truths, each) for each in side] for side in (first, second)]
    every = np.arange(IMAGES)
    assert found.first == tuple(each.of(every) for each in maps[0])
    differences = [a.of(every) - b.of(every) for a, b in zip(*maps, strict=True)]
    assert found.differences == pytest.approx(differences)
    assert found.mean == pytest.approx(fmean(differences))
    assert found.of_seeds == pytest.approx(
        stats.t.interval(0.95, 2, fmean(differences), stdev(differences) / 3**0.5)
    )
    rng, drawn = np.random.default_rng(0), []
    for _ in range(40):
        images = np.sort(rng.integers(IMAGES, size=IMAGES))
        drawn.append(np.mean([a.of(images) - b.of(images) for a, b in zip(*maps, strict=True)]))
    assert found.of_images == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))
    assert found.verdict == "first"


def test_one_seed_gives_the_interval_of_the_paired_bootstrap():
    (truths, one), (_, other) = scenes(1, 2.0), scenes(2, 3.0)
    usual = paired_bootstrap(truths, one, other, draws=30)
    found = lead(truths, [(one, other)], (0,), draws=30)
    assert found.of_images == (usual.low, usual.high)
    assert (found.mean, found.of_seeds, found.verdict) == (usual.difference, None, None)


def test_equal_detectors_are_not_decided():
    truths, one = scenes(1, 2.0)
    found = lead(truths, [(one, one)] * 3, (0, 1, 2), draws=10)
    assert (found.mean, found.of_images, found.of_seeds, found.verdict) == (0, (0, 0), (0, 0), None)


def test_one_image_cannot_be_drawn_from():
    truths, one = scenes(1, 2.0)
    with pytest.raises(DatasetError, match="at least two"):
        lead(truths[:1], [(one[:1], one[:1])], (0,))
