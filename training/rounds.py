"""Times several functions alternately, in rounds, and rejects rounds in which the machine was busy."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from training.progress import bar

Key = TypeVar("Key")

WARM_UPS = 2
LEAST_TIMED_S = 0.02  # faster functions are repeated until this has passed: clocks and schedulers are coarse
MOST_REPEATS = 50
NOISE = 0.10  # largest relative difference between two timings of the same function within a round
PATIENCE = 4  # times the wanted number of rounds: the limit on rounds that are tried


@dataclass(frozen=True)
class Timed(Generic[Key]):
    """The seconds that one call of each function took, for each round in which the machine was quiet."""

    seconds: Mapping[Key, tuple[float, ...]]
    rounds: int  # number of kept rounds
    refused: int  # number of rejected rounds
    noisy: bool  # fewer rounds than wanted were quiet


def time_in_rounds(
    runs: Mapping[Key, Callable[[], object]],
    twins: Sequence[tuple[Key, Key]],
    rounds: int,
    *,
    clock: Callable[[], float] = time.perf_counter,
    on_round: Callable[[bool], None] = lambda kept: None,
) -> Timed[Key]:
    """Time each function in every round until enough rounds were quiet, and return the seconds per call.

    Before its timed calls, each function is called once untimed. This call fills the processor's caches. A
    server has full caches too, because it runs the same model again and again. The order of the functions
    changes between rounds, because clock speeds drift and each function affects the next one.

    Args:
        twins: pairs of keys in `runs` whose functions do the same. If their times differ by more than NOISE,
            the machine was busy, and the round is rejected.
        rounds: number of rounds to keep; at most PATIENCE times as many are tried.
        on_round: called after each round; its argument states whether the round was kept.
    """
    repeats = {key: _repeats(run, clock) for key, run in runs.items()}
    kept: list[dict[Key, float]] = []
    tried = 0
    while len(kept) < rounds and tried < PATIENCE * rounds:
        timed = {key: _seconds(runs[key], repeats[key], clock) for key in order(list(runs), tried)}
        pairs = [sorted((timed[one], timed[other])) for one, other in twins]
        quiet = all(slower - faster <= NOISE * faster for faster, slower in pairs)
        if quiet:
            kept.append(timed)
        tried += 1
        on_round(quiet)
    seconds = {key: tuple(each[key] for each in kept) for key in runs}
    return Timed(seconds, len(kept), tried - len(kept), noisy=len(kept) < rounds)


def time_with_progress(
    runs: Mapping[Key, Callable[[], object]], twins: Sequence[tuple[Key, Key]], rounds: int, what: str
) -> Timed[Key]:
    """Do what time_in_rounds does, and show a progress bar with the text `what`."""
    refused = 0
    with bar(rounds, "round", what) as progress:

        def count(kept: bool) -> None:
            nonlocal refused
            refused += not kept
            progress.update(int(kept))
            progress.set_postfix_str(f"{refused} refused" if refused else "")

        return time_in_rounds(runs, twins, rounds, on_round=count)


def order(keys: Sequence[Key], number: int) -> list[Key]:
    """Return the keys in the order of a round: rotated by its number and, in odd rounds, reversed."""
    start = number % len(keys)
    rotated = [*keys[start:], *keys[:start]]
    return rotated[::-1] if number % 2 else rotated


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
