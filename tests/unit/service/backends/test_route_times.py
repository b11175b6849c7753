"""The time of a route is known from its runs, or from other routes, and a wrong one does not last."""

from itertools import count

import pytest

from service.backends.route_times import RouteTimes
from service.errors import RouteTooSlow

CHEAP, USUAL, HEAVY = (0, 1), (0, 2), (1, 2)
FAST_S, SLOW_S, LEFT_S = 0.1, 3.0, 0.25  # a usual run, one beside other work, and the time for an image


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def times(clock):
    return RouteTimes({CHEAP: 1.0, USUAL: 2.0, HEAVY: 8.0}, clock)


def twice(times, key, seconds):
    """Let a route run as often as it takes to believe that it is slow."""
    for _ in range(2):
        times.learn(key, seconds)


def test_without_any_run_nothing_is_known_and_every_route_runs(times):
    assert times.expected_s(HEAVY) is None
    assert times.fits(HEAVY, 0.001)


def test_a_route_without_runs_takes_the_time_of_its_operations(times):
    twice(times, CHEAP, 0.1)
    assert times.expected_s(HEAVY) == pytest.approx(0.8)
    twice(times, USUAL, 0.5)  # 0.6 s for 3 GFLOPs
    assert times.expected_s(HEAVY) == pytest.approx(1.6)
    assert times.expected_s(USUAL) == pytest.approx(0.5)


def test_operations_of_zero_say_nothing_about_other_routes(clock):
    times = RouteTimes({CHEAP: 0.0, USUAL: 0.0}, clock)
    twice(times, CHEAP, 0.1)
    assert times.expected_s(USUAL) is None


def test_the_first_runs_are_averaged_and_later_ones_followed(times):
    for seconds in (0.1, 0.2, 0.15):
        times.learn(USUAL, seconds)
    assert times.expected_s(USUAL) == pytest.approx(0.15)
    for _ in range(60):
        times.learn(USUAL, 0.3)
    assert times.expected_s(USUAL) == pytest.approx(0.3, rel=0.01)


def test_one_very_slow_run_hardly_moves_the_mean(times):
    for _ in range(10):
        times.learn(USUAL, 0.1)
    times.learn(USUAL, 60.0)
    assert times.expected_s(USUAL) == pytest.approx(0.11)


@pytest.mark.parametrize(("left_s", "fits"), [(0.2001, True), (0.2, True), (0.1999, False)])
def test_a_route_fits_if_its_time_is_not_longer_than_what_is_left(times, left_s, fits):
    twice(times, USUAL, 0.2)
    assert times.fits(USUAL, left_s) is fits


def test_after_ten_seconds_without_a_run_a_route_that_was_too_slow_is_tried_again(times, clock):
    twice(times, USUAL, 5.0)
    clock.now = 100.0
    assert not times.fits(USUAL, 0.2)
    clock.now = 109.9
    assert not times.fits(USUAL, 0.2)
    clock.now = 110.0
    assert times.fits(USUAL, 0.2)
    times.learn(USUAL, 0.1)  # its time replaces the mean
    assert times.expected_s(USUAL) == pytest.approx(0.1)
    assert times.fits(USUAL, 0.2)


def test_a_trial_that_is_slow_again_is_believed_for_another_ten_seconds(times, clock):
    twice(times, USUAL, 5.0)
    assert not times.fits(USUAL, 0.2)
    clock.now = 10.0
    assert times.fits(USUAL, 0.2)
    times.learn(USUAL, 4.0)
    assert times.expected_s(USUAL) == pytest.approx(4.0)
    assert not times.fits(USUAL, 0.2)
    clock.now = 19.9
    assert not times.fits(USUAL, 0.2)


def test_runs_for_images_with_more_time_keep_the_mean_in_force(times, clock):
    twice(times, USUAL, 1.0)
    for second in range(1, 30, 5):
        clock.now = float(second)
        assert not times.fits(USUAL, 0.2)
        assert times.fits(USUAL, 2.0)
        times.learn(USUAL, 1.0)
    assert times.expected_s(USUAL) == pytest.approx(1.0)


def test_a_route_that_never_ran_is_tried_in_spite_of_its_operations(times, clock):
    twice(times, CHEAP, 0.1)
    assert not times.fits(HEAVY, 0.5)
    clock.now = 10.0
    assert times.fits(HEAVY, 0.5)
    times.learn(HEAVY, 0.2)
    assert times.expected_s(HEAVY) == pytest.approx(0.2)


def test_a_single_slow_run_does_not_prove_that_its_route_or_another_is_slow(times):
    times.learn(USUAL, 60.0)
    assert times.expected_s(USUAL) is None
    assert times.fits(USUAL, LEFT_S)
    assert times.fits(HEAVY, LEFT_S)
    times.learn(USUAL, FAST_S)
    assert times.expected_s(USUAL) == pytest.approx(1.5 * FAST_S)


def test_a_single_fast_run_proves_that_its_route_is_fast(times):
    twice(times, CHEAP, 0.1)
    times.learn(HEAVY, 0.3)
    assert times.expected_s(HEAVY) == pytest.approx(0.3)


def test_a_single_slow_run_is_expected_to_take_the_time_of_its_operations(times):
    twice(times, CHEAP, 0.1)
    times.learn(HEAVY, 60.0)
    assert times.expected_s(HEAVY) == pytest.approx(0.8)


@pytest.mark.parametrize(("seconds", "mean_s"), [(0.1, 0.19), (0.5, 0.95), (0.6, 0.96)])
def test_one_fast_run_lowers_the_mean_to_less_than_twice_its_time(times, seconds, mean_s):
    for _ in range(9):
        times.learn(USUAL, 1.0)
    times.learn(USUAL, seconds)
    assert times.expected_s(USUAL) == pytest.approx(mean_s)


def refusals(times, clock, arrivals, took_s, left_s=LEFT_S):
    """Send an image at each of the times `arrivals`; return when one was refused.

    `took_s` says for the time of an arrival how long the graph would run.
    """
    refused = []
    for now in arrivals:
        clock.now = now
        try:
            times.choose(USUAL, (), left_s)
        except RouteTooSlow:
            refused.append(now)
        else:
            seconds = took_s(now)
            clock.now = now + seconds
            times.learn(USUAL, seconds)
    return refused


@pytest.mark.parametrize("outlier", range(15))
@pytest.mark.parametrize("hopeless", [None, *range(15)])
def test_one_slow_run_makes_no_image_refused(times, clock, outlier, hopeless):
    """Send images so seldom that a route is in doubt if an image without any time has found it too slow."""
    arrivals = [20.0 * one for one in range(15)]
    for one, now in enumerate(arrivals):
        seconds = SLOW_S if one == outlier else FAST_S
        assert refusals(times, clock, [now], lambda _, seconds=seconds: seconds) == []
        if one == hopeless:
            refusals(times, clock, [now + 5], lambda _: FAST_S, left_s=0.001)


@pytest.mark.parametrize("outlier", [None, 0, 1])
def test_after_a_busy_moment_images_are_refused_no_longer_than_ten_seconds(times, clock, outlier):
    """Allow ten further seconds of refusals if the first run after the moment is slow again."""
    refusals(times, clock, [0.1, 0.3, 0.5], lambda _: FAST_S)
    busy = [4.0 * one for one in range(1, 20)]  # of images with enough time
    assert refusals(times, clock, busy, lambda _: SLOW_S, left_s=60.0) == []
    over = clock.now
    runs = count()
    refused = refusals(
        times,
        clock,
        [over + 0.5 * one for one in range(1, 100)],
        lambda _: SLOW_S if next(runs) == outlier else FAST_S,
    )
    assert refused, "the moment was long enough to be believed"
    assert max(refused) <= over + (24.0 if outlier == 0 else 10.5)


def test_without_refusals_the_first_fast_run_ends_a_busy_moment(times, clock):
    refusals(times, clock, [4.0 * one for one in range(1, 20)], lambda _: SLOW_S, left_s=60.0)
    assert refusals(times, clock, [100.0], lambda _: FAST_S, left_s=60.0) == []
    assert refusals(times, clock, [101.0 + one for one in range(20)], lambda _: FAST_S) == []
