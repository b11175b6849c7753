"""Decide, image by image, whether a backend disagrees more often than correct artifacts do."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

ALARM = 1e6
"""Least mean number of counted images until a false alarm, if a backend disagrees as often as allowed."""

_RATES = (0.1, 0.2, 0.4, 0.8)  # shares of disagreeing images that a fault may cause
_ONE_EXPERT = 2.0  # images of one expert may disagree more often than all images, by this factor

ExpertId = tuple[str, int]
"""A layer, and the number of an expert in it."""


class Evidence:
    """Evidence that more than an allowed share of images disagrees.

    For each rate in _RATES, it is the likelihood ratio of that rate and the allowed share, restarted whenever
    it falls below 1 (Page's CUSUM). If there is no fault, the mean of these ratios first exceeds a number A
    after at least A images on average, however often it is checked. Source: Shin, Ramdas and Rinaldo,
    "E-detectors", arXiv:2203.03532.
    """

    def __init__(self, allowed: float) -> None:
        """Begin without evidence; `allowed` is the share of images, 0..1, that may disagree."""
        allowed = min(allowed, 0.5)
        rates = [rate for rate in _RATES if rate >= 1.5 * allowed]
        self._steps = [(math.log((1 - rate) / (1 - allowed)), math.log(rate / allowed)) for rate in rates]
        self._logs = [0.0] * len(rates)
        self.images = self.disagreeing = 0

    def add(self, disagrees: bool) -> None:
        """Count one image."""
        self.images += 1
        self.disagreeing += disagrees
        self._logs = [
            max(0.0, log) + step[disagrees] for log, step in zip(self._logs, self._steps, strict=True)
        ]

    @property
    def value(self) -> float:
        """Return the mean of the likelihood ratios; infinity if it is too large for a float."""
        return sum(math.exp(min(log, 700.0)) for log in self._logs) / len(self._logs)


@dataclass(frozen=True)
class Suspect:
    """An expert, and how many of the counted images with it disagree."""

    layer: str
    expert: int
    images: int
    disagreeing: int


class Trial:
    """The sequential test of one version on one backend, over all images and over those of each expert.

    A fault in a rarely chosen expert shows first among the images for which it is chosen. The value of the
    trial is a weighted mean over all tests, so that the many tests do not make a false alarm more probable.
    """

    def __init__(self, allowed: float, experts: Iterable[ExpertId]) -> None:
        """Begin without images; `allowed` is the share of images that may disagree."""
        self.allowed = allowed
        self.all = Evidence(allowed)
        self._experts = {expert: Evidence(_ONE_EXPERT * allowed) for expert in experts}

    def add(self, disagrees: bool, chosen: Iterable[ExpertId]) -> None:
        """Count one image; `chosen` are the experts that the reference chose for it."""
        self.all.add(disagrees)
        for expert in chosen:
            if expert in self._experts:
                self._experts[expert].add(disagrees)

    @property
    def value(self) -> float:
        """Return the evidence against the backend; from ALARM on, the backend disagrees."""
        if not self._experts:
            return self.all.value
        by_expert = sum(one.value for one in self._experts.values()) / len(self._experts)
        return (self.all.value + by_expert) / 2

    @property
    def disagrees(self) -> bool:
        """Return whether the backend disagrees more often than allowed."""
        return self.value >= ALARM

    def suspects(self, count: int = 5) -> list[Suspect]:
        """Return the experts with the most evidence against them, the most suspect first."""
        ranked = sorted(self._experts.items(), key=lambda item: item[1].value, reverse=True)
        return [
            Suspect(*expert, evidence.images, evidence.disagreeing)
            for expert, evidence in ranked[:count]
            if evidence.disagreeing
        ]
