"""Judge from the samples of a soak whether a service grows with the number of requests."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from scipy.stats import theilslopes

from tests.load.soak.samples import Sample

WARM_UP = 0.3  # share of the requests in which heaps and caches fill
PLATEAUS = 12  # neighbouring samples are alike, so that each alone says little; their medians say more
LIMIT_MB = 1.0  # per 100,000 requests
PER = 100_000
COUNTS = ("threads", "descriptors", "shared_files", "temporary_files", "in_flight", "series")


@dataclass(frozen=True)
class Growth:
    """The growth for each 100,000 requests, and the bounds between which it is with 95 %."""

    slope: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.slope:+.2f} ({self.low:+.2f} to {self.high:+.2f})"


def growth_of(requests: Sequence[float], values: Sequence[float]) -> Growth:
    """Return the slope of values over requests by the method of Theil and Sen, over medians of neighbours.

    It is the median of the slopes between all pairs, so that a few samples that stand out do not count.
    """
    groups = split(list(zip(requests, values, strict=True)), PLATEAUS)
    x = [median(request for request, _ in group) for group in groups]
    y = [median(value for _, value in group) for group in groups]
    slope, _, low, high = theilslopes(y, x, alpha=0.95)
    return Growth(float(slope) * PER, float(low) * PER, float(high) * PER)


def split(values: Sequence[tuple[float, float]], parts: int) -> list[Sequence[tuple[float, float]]]:
    """Return up to `parts` groups of neighbours, of about the same size."""
    parts = min(parts, len(values))
    edges = [round(number * len(values) / parts) for number in range(parts + 1)]
    return [values[low:high] for low, high in pairwise(edges)]


def warm(samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples after the warm-up."""
    return [sample for sample in samples if sample.requests >= WARM_UP * samples[-1].requests]


def faults(samples: Sequence[Sample], limit_mb: float = LIMIT_MB) -> list[str]:
    """Return a sentence for each thing that grew, or for which these samples do not show that it did not.

    Memory in use must be shown not to grow. What a process holds differs by tens of MB from one moment to the
    next, because the C library keeps freed memory; so this only must not be shown to grow.

    Args:
        samples: of a whole soak, in order.
        limit_mb: most growth of memory for each 100,000 requests.
    """
    after = warm(samples)
    third = len(after) // 3
    if third < 2:
        return ["there are too few samples"]
    found = []
    for name in ("used_mb", "own_mb", "rss_mb"):
        growth = growth_of([one.requests for one in after], [getattr(one, name) for one in after])
        each = f"{growth} MB for each {PER:,} requests, where {limit_mb:g} are allowed"
        if growth.low > limit_mb:
            found.append(f"{name} grows by {each}")
        elif growth.high > limit_mb and name == "used_mb":
            found.append(f"{name} may grow by {each}: send more requests")
    for name in COUNTS:
        first = max(getattr(one, name) for one in after[:third])
        last = min(getattr(one, name) for one in after[-third:])
        if last > first:
            found.append(f"{name} grow: at most {first} in the first third, at least {last} in the last")
    return found
