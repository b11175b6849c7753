"""Compute the statistics that compare two samples; all of them allow for the finite size of both samples."""

from collections import Counter
from collections.abc import Mapping
from math import erfc, exp, log, log1p, log2, pi, sinh, sqrt

import numpy as np
from numpy.typing import NDArray

LEAST_EXPECTED = 5.0  # rarer categories are counted together, so that the χ² distribution holds


def chi2_sf(x: float, degrees: int) -> float:
    """Return the probability that a χ² variable with `degrees` degrees of freedom exceeds `x`.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.4.4 and 26.4.5.
    """
    if x <= 0 or degrees <= 0:
        return 1.0
    if x > 1400:
        return 0.0  # below the smallest float for all degrees that occur here
    half = x / 2
    if degrees % 2 == 0:
        term = total = exp(-half)
        for i in range(1, degrees // 2):
            term *= half / i
            total += term
        return min(1.0, total)
    total = erfc(sqrt(half))
    term = sqrt(2 * x / pi) * exp(-half)
    for i in range(1, degrees, 2):
        total += term
        term *= x / (i + 2)
    return min(1.0, total)


def normal_sf2(z: float) -> float:
    """Return the probability that a standard normal variable is farther from 0 than `z`."""
    return erfc(abs(z) / sqrt(2))


def hotelling_p(shift: NDArray[np.float64], inverse: NDArray[np.float64], n: float, base_n: int) -> float:
    """Return the p-value of Hotelling's T² for the mean of a sample of size `n` against a baseline's mean.

    Args:
        shift: difference of the two means, (D,).
        inverse: inverse of the baseline's covariance, (D, D).
        n: effective size of the sample.
        base_n: size of the baseline; the covariance was estimated from it.

    Source: Anderson, An Introduction to Multivariate Statistical Analysis, 5.2; the distribution of
    log(1 + T²/ν) follows Bartlett's approximation, which allows for the estimated covariance.
    """
    degrees, freedom = len(shift), base_n - 1
    t2 = float(shift @ inverse @ shift) / (1 / n + 1 / base_n)
    return chi2_sf((freedom - degrees / 2) * log1p(max(0.0, t2) / freedom), degrees)


def g_test_p(counts: Mapping[int, int], base: Mapping[int, int]) -> float:
    """Return the p-value of the G-test that two samples of categories have the same distribution.

    Categories that are expected fewer than LEAST_EXPECTED times in a sample are counted together.
    Source: Sokal and Rohlf, Biometry, 17.4, with Williams' correction.
    """
    n, base_n = sum(counts.values()), sum(base.values())
    if not n or not base_n:
        return 1.0
    least = LEAST_EXPECTED / min(n, base_n) * (n + base_n)
    rows = [(counts.get(key, 0), base.get(key, 0)) for key in counts.keys() | base.keys()]
    common = [row for row in rows if sum(row) >= least]
    rare = [row for row in rows if sum(row) < least]
    if rare:
        common.append((sum(row[0] for row in rare), sum(row[1] for row in rare)))
    if len(common) < 2:
        return 1.0
    total, g = n + base_n, 0.0
    for row in common:
        for seen, size in zip(row, (n, base_n), strict=True):
            if seen:
                g += 2 * seen * log(seen * total / (sum(row) * size))
    spread = (total / n + total / base_n - 1) * (sum(total / sum(row) for row in common) - 1)
    williams = 1 + spread / (6 * total * (len(common) - 1))
    return chi2_sf(g / williams, len(common) - 1)


def divergence_bits(counts: Mapping[int, int], base: Mapping[int, int]) -> float:
    """Return the Jensen-Shannon divergence of two samples of categories: 0 if equal, 1 if disjoint."""
    n, base_n = sum(counts.values()), sum(base.values())
    if not n or not base_n:
        return 0.0
    total = 0.0
    for key in counts.keys() | base.keys():
        p, q = counts.get(key, 0) / n, base.get(key, 0) / base_n
        middle = (p + q) / 2
        total += sum(each / 2 * log2(each / middle) for each in (p, q) if each)
    return max(0.0, total)


def counted(sets: NDArray[np.uint64]) -> Counter[int]:
    """Return how often each value occurs in an array (N,)."""
    values, counts = np.unique(sets, return_counts=True)
    return Counter(dict(zip(values.tolist(), counts.tolist(), strict=True)))


def diversity(shares: NDArray[np.float64]) -> float:
    """Return exp(H)/N of the shares of N experts: 1 if all are equal, 1/N if only one is used."""
    total = shares.sum()
    if not total > 0:
        return 0.0
    part = shares[shares > 0] / total
    return float(np.exp(-(part * np.log(part)).sum()) / len(shares))


def jain(shares: NDArray[np.float64]) -> float:
    """Return Jain's fairness index of N shares: 1 if all are equal, 1/N if only one is not 0.

    Source: Jain, Chiu and Hawe, A Quantitative Measure of Fairness, DEC-TR-301, 1984.
    """
    squares = float((shares**2).sum())
    return float(shares.sum()) ** 2 / (len(shares) * squares) if squares > 0 else 0.0


class Cusum:
    """A cumulative sum that notices a slow rise of the mean of values from 0 to 1.

    Values are expected to be uniform, with mean 0.5. The sum S ← max(0, S + value − 0.5 − slack) exceeds the
    limit about once in `mean_run` values while there is no drift.

    Source: Page, Continuous Inspection Schemes, Biometrika 41, 1954; Wald's approximation of the run length.
    """

    def __init__(self, slack: float, mean_run: float) -> None:
        """Begin at 0; `slack` is the rise that is still tolerated."""
        self._slack = slack
        self._rate = _root(slack)
        self._limit = log(mean_run) / self._rate
        self._sum = 0.0

    def add(self, values: NDArray[np.float64]) -> None:
        """Add values (N,), in order."""
        for value in values.tolist():
            self._sum = max(0.0, self._sum + value - 0.5 - self._slack)

    @property
    def exceeded(self) -> bool:
        """Return whether the sum is above its limit."""
        return self._sum > self._limit

    @property
    def chance(self) -> float:
        """Return the approximate probability of a sum as high as now at a given value, without drift."""
        return min(1.0, exp(-self._rate * self._sum))


def _root(slack: float) -> float:
    """Return the positive root r of E[exp(r (U - 0.5 - slack))] = 1 for uniform U."""
    low, high = 1e-6, 200.0
    for _ in range(100):
        middle = (low + high) / 2
        half = middle / 2
        # log(sinh(h)/h) - r slack, written so that a large h does not overflow
        growth = (log(sinh(half) / half) if half < 300 else half - log(2 * half)) - middle * slack
        low, high = (middle, high) if growth < 0 else (low, middle)
    return low
