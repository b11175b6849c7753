"""Timing things beside one another, round by round, and refusing the rounds in which the machine was busy."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key")

WARM_UPS = 2
LEAST_TIMED_S = 0.02  # quicker runs are repeated for so long: clocks and schedulers are coarse
MOST_REPEATS = 50
NOISE = 0.10  # as much as a thing may differ from itself within a round
PATIENCE = 4  # times as many rounds as wanted are tried


@dataclass(frozen=True)
class Timed(Generic[Key]):
    """Seconds for one run of each thing, by kept round."""

    seconds: Mapping[Key, tuple[float, ...]]
    rounds: int
    refused: int
    noisy: bool  # the patience was over before enough rounds were quiet: what is here are all that were


def time_in_rounds(
    runs: Mapping[Key, Callable[[], object]],
    twins: Sequence[tuple[Key, Key]],
    rounds: int,
    *,
    clock: Callable[[], float] = time.perf_counter,
    on_round: Callable[[bool], None] = lambda kept: None,
) -> Timed[Key]:
    """Run each thing once a round, in an order that turns and reverses, until enough rounds were quiet.

    Each thing runs once untimed before it is timed: a server runs one model again and again, and finds its
    weights in the caches. Clocks of processors drift, and neighbours leave traces: so nothing keeps its place
    or its neighbour.

    Args:
        runs: what is timed, by name.
        twins: names of things that are the same: where two differ by more than NOISE, the round is refused.
        rounds: how many are wanted; PATIENCE times as many are tried.
        on_round: is told after each round whether it was kept.
    """
    repeats = {key: _repeats(run, clock) for key, run in runs.items()}
    kept: list[dict[Key, float]] = []
    tried = 0
    while len(kept) < rounds and tried < PATIENCE * rounds:
        timed = {key: _seconds(runs[key], repeats[key], clock) for key in order(list(runs), tried)}
        quiet = all(_differ(timed[one], timed[other]) <= NOISE for one, other in twins)
        if quiet:
            kept.append(timed)
        tried += 1
        on_round(quiet)
    seconds = {key: tuple(each[key] for each in kept) for key in runs}
    return Timed(seconds, len(kept), tried - len(kept), noisy=len(kept) < rounds)


def order(keys: Sequence[Key], number: int) -> list[Key]:
    """Return the order of a round: each begins one further on, and every second one runs backwards."""
    start = number % len(keys)
    turned = [*keys[start:], *keys[:start]]
    return turned[::-1] if number % 2 else turned


def _repeats(run: Callable[[], object], clock: Callable[[], float]) -> int:
    for _ in range(WARM_UPS):
        run()
    took = _seconds(run, 1, clock)
    return min(max(math.ceil(LEAST_TIMED_S / max(took, 1e-9)), 1), MOST_REPEATS)


def _seconds(run: Callable[[], object], repeats: int, clock: Callable[[], float]) -> float:
    run()
    start = clock()
    for _ in range(repeats):
        run()
    return (clock() - start) / repeats


def _differ(one: float, other: float) -> float:
    """Return the difference as a share of the smaller, so that the order does not matter."""
    return abs(one - other) / max(min(one, other), 1e-12)
