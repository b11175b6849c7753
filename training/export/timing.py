"""Times that can be compared on a machine with other things to do: taken in turn, over and over."""

from collections.abc import Callable, Sequence
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

# R rounds · N runs that are compared

MIN_ROUNDS = 5


def interleaved_seconds(
    runs: Sequence[Callable[[], object]], rounds: int, *, warmup: int = 2, limit_s: float = float("inf")
) -> NDArray[np.float64]:
    """Seconds of every run in every round, (R, N), in the order of `runs`.

    Each round goes through all runs, every second one backwards, so that what warms or slows the machine
    meets them alike.

    Args:
        rounds: at most so many.
        warmup: rounds that are not counted.
        limit_s: no new round is begun after this time, once there are a few.
    """
    begun = perf_counter()
    found: list[list[float]] = []
    for turn in range(warmup + rounds):
        if turn >= warmup + MIN_ROUNDS and perf_counter() - begun > limit_s:
            break
        seconds = [0.0] * len(runs)
        order = range(len(runs)) if turn % 2 else reversed(range(len(runs)))
        for index in order:
            start = perf_counter()
            runs[index]()
            seconds[index] = perf_counter() - start
        found.append(seconds)
    return np.array(found[warmup:])


def median_ratio(seconds: NDArray[np.float64], run: int, base: int) -> float:
    """Median over rounds of what one run took, relative to another in the same round."""
    return float(np.median(seconds[:, run] / seconds[:, base]))
