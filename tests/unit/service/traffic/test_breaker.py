"""A circuit breaker opens after consecutive failures or at once, and only a probe closes it."""

import pytest

from service.traffic.breaker import Breaker, State
from tests.unit.service.traffic.route_builders import FakeClock


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def changes():
    return []


@pytest.fixture
def breaker(clock, changes):
    return Breaker(3, changes.append, clock)


def fail(breaker, clock, times=1, **kinds):
    for _ in range(times):
        clock.now += 1
        breaker.failed(breaker.begin(), "it fell over", **kinds)


def test_it_opens_at_the_third_failure_in_a_row_and_not_at_the_second(breaker, clock, changes):
    fail(breaker, clock, 2)
    assert breaker.state is State.CLOSED
    fail(breaker, clock)
    assert (breaker.state, breaker.why, changes) == (State.OPEN, "it fell over", [State.OPEN])


def test_an_answer_in_between_begins_the_count_again(breaker, clock):
    fail(breaker, clock, 2)
    breaker.succeeded(breaker.begin())
    fail(breaker, clock, 2)
    assert breaker.state is State.CLOSED


def test_a_lost_connection_opens_it_at_once(breaker, clock):
    fail(breaker, clock, at_once=True)
    assert breaker.state is State.OPEN


def test_a_probe_goes_through_half_open_to_closed(breaker, clock, changes):
    fail(breaker, clock, at_once=True)
    breaker.probe_started()
    assert breaker.state is State.HALF_OPEN
    breaker.probe_succeeded()
    assert changes == [State.OPEN, State.HALF_OPEN, State.CLOSED]
    assert breaker.why == ""


def test_a_probe_that_fails_opens_it_again_with_what_is_wrong_now(breaker, clock):
    fail(breaker, clock, at_once=True)
    breaker.probe_started()
    breaker.probe_failed(breaker.begin(), "the model is dead")
    assert (breaker.state, breaker.why) == (State.OPEN, "the model is dead")


def test_a_probe_that_fails_opens_a_closed_one(breaker, clock):
    clock.now += 5
    breaker.probe_failed(breaker.begin(), "silent")
    assert breaker.state is State.OPEN


def test_a_probe_that_fails_while_answers_come_says_nothing(breaker, clock):
    began = breaker.begin()
    clock.now += 1
    breaker.succeeded(began)
    breaker.probe_failed(began, "silent")
    assert breaker.state is State.CLOSED


def test_what_began_before_it_closed_again_does_not_open_it(breaker, clock):
    before = breaker.begin()
    fail(breaker, clock, at_once=True)
    clock.now += 1
    breaker.probe_started()
    breaker.probe_succeeded()
    for _ in range(9):
        breaker.failed(before, "an old failure", at_once=True)
    assert breaker.state is State.CLOSED


def test_a_late_answer_does_not_close_it(breaker, clock):
    before = breaker.begin()
    fail(breaker, clock, at_once=True)
    breaker.succeeded(before)
    assert breaker.state is State.OPEN


def test_it_tells_how_long_no_answer_has_come(breaker, clock):
    clock.now += 4
    assert breaker.idle_s() == 4
    breaker.succeeded(breaker.begin())
    assert breaker.idle_s() == 0
