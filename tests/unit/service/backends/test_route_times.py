"""The time of a route is known from its runs, or from other routes, and a wrong one does not last."""

import pytest

from service.backends.route_times import RouteTimes

CHEAP, USUAL, HEAVY = (0, 1), (0, 2), (1, 2)


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


def test_without_any_run_nothing_is_known_and_every_route_runs(times):
    assert times.expected_s(HEAVY) is None
    assert times.fits(HEAVY, 0.001)


def test_a_route_without_runs_takes_the_time_of_its_operations(times):
    times.learn(CHEAP, 0.1)
    assert times.expected_s(HEAVY) == pytest.approx(0.8)
    times.learn(USUAL, 0.5)  # 0.6 s for 3 GFLOPs
    assert times.expected_s(HEAVY) == pytest.approx(1.6)
    assert times.expected_s(USUAL) == pytest.approx(0.5)


def test_operations_of_zero_say_nothing_about_other_routes(clock):
    times = RouteTimes({CHEAP: 0.0, USUAL: 0.0}, clock)
    times.learn(CHEAP, 0.1)
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
    times.learn(USUAL, 0.2)
    assert times.fits(USUAL, left_s) is fits


def test_after_ten_seconds_without_a_run_a_route_that_was_too_slow_is_tried_again(times, clock):
    times.learn(USUAL, 5.0)
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
    times.learn(USUAL, 5.0)
    assert not times.fits(USUAL, 0.2)
    clock.now = 10.0
    assert times.fits(USUAL, 0.2)
    times.learn(USUAL, 4.0)
    assert times.expected_s(USUAL) == pytest.approx(4.0)
    assert not times.fits(USUAL, 0.2)
    clock.now = 19.9
    assert not times.fits(USUAL, 0.2)


def test_runs_for_images_with_more_time_keep_the_mean_in_force(times, clock):
    times.learn(USUAL, 1.0)
    for second in range(1, 30, 5):
        clock.now = float(second)
        assert not times.fits(USUAL, 0.2)
        assert times.fits(USUAL, 2.0)
        times.learn(USUAL, 1.0)
    assert times.expected_s(USUAL) == pytest.approx(1.0)


def test_a_route_that_never_ran_is_tried_in_spite_of_its_operations(times, clock):
    times.learn(CHEAP, 0.1)
    assert not times.fits(HEAVY, 0.5)
    clock.now = 10.0
    assert times.fits(HEAVY, 0.5)
    times.learn(HEAVY, 0.2)
    assert times.expected_s(HEAVY) == pytest.approx(0.2)
