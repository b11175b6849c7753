"""Timing in alternating rounds, and refused rounds, with a fake clock."""

from collections import Counter

import pytest

from training.rounds import PATIENCE, WARM_UPS, order, time_in_rounds


class Machine:
    """A clock that stands still but for what runs; every run is noted."""

    def __init__(self):
        self.now = 0.0
        self.ran = []

    def takes(self, name, *seconds):
        """A run that takes so long, one value after the other; the last one stays."""
        left = list(seconds)

        def run():
            self.ran.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return run

    def clock(self):
        return self.now


# Before the first round a thing is warmed up, and timed once, after one untimed run as always.
BEFORE = WARM_UPS + 2


def test_every_round_times_everything_and_ratios_can_be_taken_within_it():
    machine = Machine()
    runs = {
        "dense": machine.takes("dense", 0.1),
        "again": machine.takes("again", 0.1),
        "sparse": machine.takes("sparse", 0.05),
    }
    timed = time_in_rounds(runs, [("dense", "again")], 3, clock=machine.clock)
    assert (timed.rounds, timed.refused, timed.noisy) == (3, 0, False)
    assert timed.seconds["dense"] == pytest.approx((0.1, 0.1, 0.1))
    assert timed.seconds["sparse"] == pytest.approx((0.05, 0.05, 0.05))


def test_nothing_keeps_its_place_or_its_neighbour():
    keys = ("a", "b", "c", "d")
    orders = [order(keys, number) for number in range(8)]
    assert all(sorted(each) == list(keys) for each in orders)
    for key in keys:
        assert len({each.index(key) for each in orders}) > 1
        before = {each[each.index(key) - 1] for each in orders if each.index(key)}
        assert len(before) > 1


def test_the_order_of_the_rounds_is_what_ran():
    machine = Machine()
    runs = {name: machine.takes(name, 1.0) for name in "abc"}
    time_in_rounds(runs, [], 2, clock=machine.clock)
    timed = machine.ran[3 * BEFORE :]
    assert timed[::2] == timed[1::2] == [*order("abc", 0), *order("abc", 1)]


def test_a_round_in_which_a_thing_differs_from_itself_is_refused_and_run_again():
    machine = Machine()
    calm, cold = [0.1] * BEFORE, [0.5]  # the first run of a round is not timed
    told = []
    timed = time_in_rounds(
        {
            "dense": machine.takes("dense", *calm, *cold, 0.1, *cold, 0.1, *cold, 0.1),
            "again": machine.takes("again", *calm, *cold, 0.109, *cold, 0.2, *cold, 0.1),  # 9, 100, 0 %
            "sparse": machine.takes("sparse", *calm, *cold, 0.05, *cold, 0.06, *cold, 0.07),
        },
        [("dense", "again")],
        2,
        clock=machine.clock,
        on_round=told.append,
    )
    assert told == [True, False, True]
    assert (timed.rounds, timed.refused, timed.noisy) == (2, 1, False)
    assert timed.seconds["sparse"] == pytest.approx((0.05, 0.07))


@pytest.mark.parametrize("slow", ["dense", "again"])
def test_a_machine_that_never_calms_down_is_given_up(slow):
    machine = Machine()
    runs = {name: machine.takes(name, 0.15 if name == slow else 0.1) for name in ("dense", "again", "sparse")}
    timed = time_in_rounds(runs, [("dense", "again")], 5, clock=machine.clock)
    assert (timed.rounds, timed.refused, timed.noisy) == (0, PATIENCE * 5, True)
    assert timed.seconds["sparse"] == ()


def test_what_is_over_quickly_is_repeated_until_the_clock_can_tell():
    machine = Machine()
    runs = {"quick": machine.takes("quick", 0.004), "slow": machine.takes("slow", 0.5)}
    timed = time_in_rounds(runs, [], 1, clock=machine.clock)
    assert timed.seconds["quick"] == pytest.approx((0.004,)), "for one run"
    assert Counter(machine.ran) == {"quick": BEFORE + 1 + 5, "slow": BEFORE + 1 + 1}
