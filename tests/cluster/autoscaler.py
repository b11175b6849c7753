"""The decision of KEDA and the HorizontalPodAutoscaler: how many gateways there should be."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.chart import ScalingQuery

TOLERANCE = 0.1  # of the HorizontalPodAutoscaler: so small a change changes nothing


@dataclass
class Autoscaler:
    """What the HorizontalPodAutoscaler does with sums and a value for each pod (AverageValue)."""

    queries: Sequence[ScalingQuery]
    least: int
    most: int
    stabilization_s: float  # before pods are taken away, the highest wish of this time counts
    _wishes: list[tuple[float, int]] = field(default_factory=list)

    def desired(self, sums: Sequence[float], running: int, now_s: float) -> int:
        """Return how many pods there should be, from the value of each query."""
        wishes = []
        for query, total in zip(self.queries, sums, strict=True):
            close = abs(total / (query.threshold * running) - 1) <= TOLERANCE
            wishes.append(running if close else math.ceil(total / query.threshold))
        wish = min(max(*wishes, self.least), self.most)
        self._wishes = [(at, old) for at, old in self._wishes if now_s - at < self.stabilization_s]
        self._wishes.append((now_s, wish))
        return wish if wish >= running else min(running, max(old for _, old in self._wishes))
