"""Admission accepts exactly the allowed number of requests and bytes, and only waits that end in time."""

import pytest

from service.errors import Overloaded
from service.traffic.admission import Admission, check_wait


def test_the_limit_is_let_in_and_one_more_is_not():
    admission = Admission(2, 10)
    with (
        admission.enter(),
        admission.enter(),
        pytest.raises(Overloaded, match="2 requests"),
        admission.enter(),
    ):
        pass


def test_bytes_are_let_in_up_to_the_limit_and_no_further():
    admission = Admission(9, 1_000_000)
    with admission.enter(400_000), admission.enter(600_000):
        with pytest.raises(Overloaded, match=r"have 1\.0 MB.*at most 1 MB"), admission.enter(1):
            pass
        with admission.enter(0):
            pass
    with admission.enter(400_000), admission.enter(600_000):
        pass


def test_one_request_is_let_in_however_large_it_is():
    admission = Admission(9, 100)
    with admission.enter(101), pytest.raises(Overloaded), admission.enter(1):
        pass


def test_a_place_is_free_again_after_a_failure():
    admission = Admission(1, 10)
    with pytest.raises(ValueError, match="boom"), admission.enter(10):
        raise ValueError("boom")
    with admission.enter(10):
        pass


def test_bytes_that_are_added_count_up_to_the_limit_until_they_are_known():
    admission = Admission(9, 100)
    with admission.enter(10), admission.enter(30):
        with pytest.raises(Overloaded, match="MAX_INFLIGHT_BYTES"), admission.grow(61):
            pass
        with admission.grow(60) as lower:
            with pytest.raises(Overloaded), admission.enter(1):
                pass
            lower(20)
            with pytest.raises(Overloaded), admission.enter(41):
                pass
            with admission.enter(40):
                pass
        with admission.enter(60):
            pass


def test_the_only_request_may_add_any_number_of_bytes():
    admission = Admission(9, 100)
    with admission.enter(1):
        with admission.grow(1000), pytest.raises(Overloaded), admission.enter(1):
            pass
        with pytest.raises(ValueError, match="boom"), admission.grow(1000):
            raise ValueError("boom")
        with admission.enter(99):
            pass


def test_a_refusal_takes_no_place_and_says_when_to_come_back():
    admission = Admission(1, 10)
    with admission.enter():
        for _ in range(3):
            with pytest.raises(Overloaded) as caught, admission.enter():
                pass
            assert caught.value.retry_after_s == 1
    with admission.enter():
        pass


@pytest.mark.parametrize(
    ("wait_s", "turn_s", "longest_s", "allowed_s"),
    [
        (0.5, 0.1, 0.5, 10),  # exactly the longest wait
        (0.4, 0.1, 0.5, 0.5),  # exactly in time
        (0.2, 0.1, None, 10),  # twice as long as a turn
        (0, 2, 0.5, 1),  # nobody waits: the mean may be wrong for this image
    ],
)
def test_a_wait_at_its_limit_is_allowed(wait_s, turn_s, longest_s, allowed_s):
    check_wait(wait_s, turn_s, longest_s, allowed_s)


@pytest.mark.parametrize(
    ("wait_s", "turn_s", "longest_s", "allowed_s", "words", "retry_after_s"),
    [
        (0.51, 0.1, 0.5, 10, "wait 0.51 s .* the 0.5 s .*try again in 1 s", 1),
        (0.21, 0.1, None, 10, "wait 0.21 s .* the 0.2 s ", 1),
        (2.6, 0.1, 0.5, 10, "wait 2.60 s .*try again in 3 s", 3),
        (0.45, 0.1, 0.5, 0.5, "take about 0.55 s, longer than the 0.5 s that are left", 1),
        (3.5, 0.5, 9, 1.5, "take about 4.00 s.*try again in 3 s", 3),
    ],
)
def test_a_longer_wait_is_refused_with_the_time_until_there_is_room(
    wait_s, turn_s, longest_s, allowed_s, words, retry_after_s
):
    with pytest.raises(Overloaded, match=words) as caught:
        check_wait(wait_s, turn_s, longest_s, allowed_s)
    assert caught.value.retry_after_s == retry_after_s
