"""Decide whether one variant is ahead of another, if both were trained with several seeds.

Two kinds of chance count: which images are measured (bootstrap over the images), and how training went
(Student's t interval over the seeds). A variant is ahead only if both intervals of its lead exclude 0.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Literal, NamedTuple

import numpy as np

from training.data.evaluation import Truth
from training.errors import DatasetError
from training.evaluate.bootstrap import CONFIDENCE, ResampledMap, draw_leads, percentiles
from training.evaluate.detections import Detections
from training.evaluate.objects.boxes import BOXES
from training.evaluate.objects.kind import ObjectKind

LEAST_SEEDS = 3  # with fewer, nothing is decided
MARGIN = 0.005  # mAP50-95 that a cheaper variant may be behind, if it is not decided which one is ahead

Which = Literal["first", "second"]


class Interval(NamedTuple):
    """A confidence interval of a lead in mAP50-95."""

    low: float
    high: float

    @property
    def ahead(self) -> Which | None:
        """Return the variant that is ahead in the whole interval; None if 0 is in the interval."""
        return "first" if self.low > 0 else "second" if self.high < 0 else None


@dataclass(frozen=True)
class Lead:
    """The mAP50-95 of two variants, 0..1, for each seed, and the lead of the first with its intervals."""

    seeds: tuple[int, ...]
    first: tuple[float, ...]  # by seed
    second: tuple[float, ...]
    of_images: Interval
    of_seeds: Interval | None  # None: there is only one seed
    draws: int  # number of bootstrap samples

    @property
    def differences(self) -> tuple[float, ...]:
        """Return first minus second for each seed."""
        return tuple(one - other for one, other in zip(self.first, self.second, strict=True))

    @property
    def mean(self) -> float:
        """Return the lead: the mean of the differences."""
        return fmean(self.differences)

    @property
    def verdict(self) -> Which | None:
        """Return the variant that is ahead; None: not decided."""
        if self.of_seeds is None or len(self.seeds) < LEAST_SEEDS:
            return None
        return self.of_images.ahead if self.of_images.ahead == self.of_seeds.ahead else None

    def choice(self, gflops: tuple[float, float]) -> Which | None:
        """Return the variant to take; None if there are too few seeds for a choice.

        It is the variant that is ahead. If this is not decided, it is the variant that uses fewer GFLOPs, as
        long as it is at most MARGIN behind; otherwise, it is the other one. With equal GFLOPs, it is the one
        with the higher mean.
        """
        if len(self.seeds) < LEAST_SEEDS or self.verdict is not None:
            return self.verdict
        better: Which = "first" if self.mean >= 0 else "second"
        if gflops[0] == gflops[1]:
            return better
        cheaper: Which = "first" if gflops[0] < gflops[1] else "second"
        behind = -self.mean if cheaper == "first" else self.mean
        # The difference is rounded, because 0.305 - 0.300 is a little more than 0.005 in binary.
        return cheaper if round(behind, 9) <= MARGIN else better


def lead(
    truths: Sequence[Truth],
    pairs: Sequence[tuple[Sequence[Detections], Sequence[Detections]]],
    seeds: Sequence[int],
    kind: ObjectKind = BOXES,
    *,
    draws: int = 1000,
) -> Lead:
    """Return the lead of a variant over another one on the same images.

    Args:
        truths: labels of each image.
        pairs: for each seed, the detections of both variants in each image.
        kind: what is compared with the labels: boxes, masks, keypoints or corners.
        draws: number of bootstrap samples.

    Raises:
        DatasetError: the images hold no object, or there are fewer than two images.
    """
    if len(truths) < 2:
        raise DatasetError("a single image cannot be drawn from: comparing needs at least two")
    scores = [(ResampledMap(truths, one, kind), ResampledMap(truths, other, kind)) for one, other in pairs]
    every = np.arange(len(truths))
    first, second = (tuple(pair[side].of(every) for pair in scores) for side in (0, 1))
    differences = [one - other for one, other in zip(first, second, strict=True)]
    return Lead(
        seeds=tuple(seeds),
        first=first,
        second=second,
        of_images=Interval(*percentiles(draw_leads(scores, len(truths), draws=draws))),
        of_seeds=t_interval(differences) if len(differences) > 1 else None,
        draws=draws,
    )


def t_interval(values: Sequence[float]) -> Interval:
    """Return Student's t interval of the mean of two or more values, at the level CONFIDENCE."""
    mean, count = fmean(values), len(values)
    reach = t_quantile(count - 1) * stdev(values) / math.sqrt(count)
    return Interval(mean - reach, mean + reach)


def t_quantile(degrees: int) -> float:
    """Return the t for which a variable of Student's distribution is within ±t with probability CONFIDENCE.

    Args:
        degrees: degrees of freedom, at least 1.
    """
    low, high = 0.0, math.pi / 2
    for _ in range(60):  # bisection of the angle, down to the precision of a float
        middle = (low + high) / 2
        if _share_within(middle, degrees) < CONFIDENCE:
            low = middle
        else:
            high = middle
    return math.sqrt(degrees) * math.tan(low)


def _share_within(angle: float, degrees: int) -> float:
    """Return the share of Student's distribution within ±√degrees × tan(angle).

    Source: Abramowitz and Stegun 1964, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    odd, cosine = degrees % 2, math.cos(angle)
    term, total = cosine if odd else 1.0, 0.0
    for power in range(odd, degrees - 1, 2):
        total += term
        term *= (power + 1) / (power + 2) * cosine * cosine
    total *= math.sin(angle)
    return 2 / math.pi * (angle + total) if odd else total
