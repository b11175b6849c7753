"""Compare points of throughput and accuracy: the Pareto front, and throughput at equal mAP."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

import numpy as np

from training.lab.benchmark.rows import Quartiles
from training.lab.pareto.candidates import Setting

EQUAL_MAP = 0.001  # mAP50-95; a point that is at most this much less accurate counts as equally accurate
ROUNDING = 1e-9


@dataclass(frozen=True)
class Point:
    """The time and the accuracy of one model in one setting."""

    series: str  # the model; its points differ in the setting
    setting: Setting | None  # None: a model without experts, or another detector; it runs in one way
    input_hw: tuple[int, int] | None  # None: another detector
    scores: tuple[float, ...]  # mAP50-95 of each seed; empty: not known
    gflops: float | None  # used, mean over images and seeds; None: not known
    seconds: tuple[float, ...]  # for one image, in each round

    @cached_property
    def score(self) -> float | None:
        """Return the mean mAP50-95 over the seeds; None if it is not known."""
        return fmean(self.scores) if self.scores else None

    @property
    def setting_text(self) -> str:
        """Return the setting in few letters, such as `K=2 P=0.1`; empty if there is only one."""
        if self.setting is None:
            return ""
        threshold = f" P={self.setting.weight_threshold:g}" if self.setting.weight_threshold else ""
        return f"K={self.setting.top_k}{threshold}"

    @cached_property
    def time(self) -> Quartiles:
        """Return the quartiles of the seconds for one image."""
        return Quartiles.of(np.array(self.seconds))


@dataclass(frozen=True)
class Matched:
    """A point, and the fastest point of another series that is at least equally accurate."""

    first: Point
    second: Point | None  # None: no point of the other series is as accurate
    gain: Quartiles | None  # throughput of the first, divided by that of the second, within a round


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other point beats, the fastest first.

    A point beats another one if it is at least as fast and at least as accurate, and better in one of both.
    Points of unknown accuracy are left out.
    """
    known = [(point.time.median, point.score, point) for point in points if point.score is not None]
    return [
        point
        for seconds, score, point in sorted(known, key=lambda each: each[:2])
        if not any(
            other_s <= seconds and other >= score and (other_s, other) != (seconds, score)
            for other_s, other, _ in known
        )
    ]


def match_at_equal_map(points: Sequence[Point], first: str, second: str) -> list[Matched]:
    """Return, for each point of a series, its throughput relative to a second series at equal mAP.

    The point is compared with the fastest point of the second series whose mAP50-95 is at most EQUAL_MAP
    lower.
    """
    mine, others = ([each for each in points if each.series == series] for series in (first, second))
    return [_match(point, point.score, others) for point in mine if point.score is not None]


def _match(point: Point, score: float, others: Sequence[Point]) -> Matched:
    least = score - EQUAL_MAP - ROUNDING
    as_good = [each for each in others if each.score is not None and each.score >= least]
    best = min(as_good, key=lambda each: each.time.median, default=None)
    gain = None if best is None else Quartiles.of(np.array(best.seconds) / np.array(point.seconds))
    return Matched(point, best, gain)


def best_match(matched: Sequence[Matched]) -> Matched | None:
    """Return the match with the largest gain in throughput; None if there is no gain to state."""
    stated = [(each.gain.median, each) for each in matched if each.gain is not None]
    return max(stated, key=lambda each: each[0], default=(0.0, None))[1]
