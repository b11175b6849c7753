"""A key has so many requests in any second and on a day, and a refused request costs nothing."""

import random
from collections import deque

import pytest

from service.access.allowance import DAY_S, Allowance
from service.access.keys import Key
from service.access_errors import QuotaExceeded, RateExceeded

MIDNIGHT = 20_000 * DAY_S


class Clock:
    def __init__(self):
        self.now_s, self.time_s = 100.0, MIDNIGHT + 1000.0

    def allowance(self, **limits):
        key = Key(name="a", sha256="0" * 64, scopes=("detect",), **limits)
        return Allowance(key, lambda: self.now_s, lambda: self.time_s)

    def sleep(self, seconds):
        self.now_s += seconds
        self.time_s += seconds


@pytest.fixture
def clock():
    return Clock()


def key(**limits):
    return Key(name="a", sha256="0" * 64, scopes=("detect",), **limits)


def takes(allowance):
    try:
        allowance.take()
    except (RateExceeded, QuotaExceeded):
        return False
    return True


@pytest.mark.parametrize("rate", [1, 2, 10])
def test_as_many_as_the_rate_and_not_one_more(clock, rate):
    allowance = clock.allowance(rate=rate)
    assert [takes(allowance) for _ in range(rate + 2)] == [True] * rate + [False] * 2


@pytest.mark.parametrize("seed", range(5))
def test_never_more_than_the_rate_in_any_second(clock, seed):
    rate, times = 7, random.Random(seed)
    allowance = clock.allowance(rate=rate)
    granted, last = 0, deque()
    for _ in range(5000):
        clock.sleep(times.expovariate(30))
        if takes(allowance):
            granted += 1
            last.append(clock.now_s)
            while last[0] <= clock.now_s - 1:
                last.popleft()
            assert len(last) <= rate
    # Hardly less either: callers who ask four times as often get what the rate says.
    assert granted >= 0.9 * rate * (clock.now_s - 100)


def test_a_refused_request_costs_nothing(clock):
    allowance = clock.allowance(rate=2)
    assert [takes(allowance) for _ in range(2)] == [True] * 2
    for _ in range(99):
        clock.sleep(0.01)
        assert not takes(allowance)
    clock.sleep(0.0101)
    assert [takes(allowance) for _ in range(3)] == [True, True, False]


def test_after_the_seconds_of_the_refusal_there_is_room(clock):
    allowance = clock.allowance(rate=3, quota=100)
    for wait_s in (0.0, 0.3, 0.3):
        clock.sleep(wait_s)
        allowance.take()
    with pytest.raises(RateExceeded) as refused:
        allowance.take()
    assert refused.value.retry_after_s == 1
    clock.sleep(refused.value.retry_after_s)
    allowance.take()


def test_a_clock_that_is_set_back_holds_nobody_up(clock):
    allowance = clock.allowance(rate=1)
    allowance.take()
    clock.time_s -= 3600
    clock.now_s += 1.001
    allowance.take()


def test_the_quota_is_of_a_day_and_begins_again_at_midnight(clock):
    allowance = clock.allowance(quota=3)
    assert [takes(allowance) for _ in range(5)] == [True] * 3 + [False] * 2
    clock.time_s = MIDNIGHT + DAY_S - 0.5
    with pytest.raises(QuotaExceeded) as refused:
        allowance.take()
    assert refused.value.retry_after_s == 1
    clock.sleep(refused.value.retry_after_s)
    assert [takes(allowance) for _ in range(4)] == [True] * 3 + [False]


def test_the_seconds_until_midnight_are_rounded_up(clock):
    allowance = clock.allowance(quota=1)
    allowance.take()
    with pytest.raises(QuotaExceeded) as refused:
        allowance.take()
    assert refused.value.retry_after_s == DAY_S - 1000


def test_what_the_rate_refuses_is_not_taken_from_the_quota(clock):
    allowance = clock.allowance(rate=1, quota=2)
    assert [takes(allowance) for _ in range(10)] == [True] + [False] * 9
    clock.sleep(1)
    assert takes(allowance)
    clock.sleep(1)
    assert not takes(allowance)


def test_what_the_quota_refuses_is_not_taken_from_the_rate(clock):
    allowance = clock.allowance(rate=1, quota=1)
    allowance.take()
    clock.sleep(1)
    with pytest.raises(QuotaExceeded):
        allowance.take()
    allowance.follow(key(rate=1, quota=2))
    allowance.take()


def test_a_request_that_was_given_back_can_be_sent_again(clock):
    allowance = clock.allowance(quota=1)
    allowance.take()
    allowance.give_back()
    allowance.give_back()  # of a request from the day before, for example
    assert [takes(allowance) for _ in range(2)] == [True, False]


@pytest.mark.parametrize(("rate", "more"), [(5, 2), (3, 0), (2, 0), (None, 10)])
def test_other_limits_count_what_was_used(clock, rate, more):
    allowance = clock.allowance(rate=3, quota=100)
    assert [takes(allowance) for _ in range(4)] == [True] * 3 + [False]
    allowance.follow(key(rate=rate, quota=100))
    assert sum(takes(allowance) for _ in range(10)) == more
    clock.sleep(1)
    assert takes(allowance)


def test_memory_is_bounded_by_the_rate(clock):
    allowance = clock.allowance(rate=4)
    for _ in range(1000):
        clock.sleep(0.5)
        takes(allowance)
    assert len(allowance._granted) == 4


def test_several_requests_are_counted_at_once_or_not_at_all(clock):
    allowance = clock.allowance(quota=10)
    allowance.take_more(9)
    with pytest.raises(QuotaExceeded, match="this one counts as up to 2"):
        allowance.take_more(2)
    allowance.take_more(1)
    assert not takes(allowance)
    allowance.give_back(3)
    assert [takes(allowance) for _ in range(4)] == [True] * 3 + [False]


def test_several_requests_of_a_new_day_are_counted_from_0(clock):
    allowance = clock.allowance(quota=10)
    allowance.take_more(10)
    clock.sleep(DAY_S)
    allowance.take_more(10)


def test_a_key_without_a_quota_may_take_any_number(clock):
    clock.allowance(rate=1).take_more(10**9)
