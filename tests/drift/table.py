"""The table of what each detector notices, and how soon."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from tests.drift.routed import Routed
from tests.drift.streams import Detector


@dataclass(frozen=True)
class Row:
    """What the detectors found in the streams of one group of images."""

    group: str
    counts: bool  # whether the goal is about this group
    noticed: Mapping[str, float]  # share of streams with an alarm, by detector
    after: Mapping[str, float | None]  # median number of images before the alarm, by detector
    confidence: float  # mean of the best detections


def measure(
    group: tuple[str, Routed, bool],
    detectors: Mapping[str, Detector],
    weights: NDArray[np.float64] | None,
    streams: int,
    length: int,
    rng: np.random.Generator,
) -> Row:
    """Return what the detectors notice in streams of images that are drawn from a group.

    Args:
        group: name of the group, its images, and whether the goal is about it.
        detectors: the detectors by name.
        weights: probability of each image, (N,); None: all are equal.
        streams: number of streams.
        length: images of a stream.
        rng: draws the streams; all detectors see the same ones.
    """
    name, routed, counts = group
    orders = [rng.choice(len(routed), length, p=weights) for _ in range(streams)]
    alarms = {key: [each.first_alarm(routed, order) for order in orders] for key, each in detectors.items()}
    seen = {key: [each for each in found if each is not None] for key, found in alarms.items()}
    return Row(
        name,
        counts,
        {key: len(found) / streams for key, found in seen.items()},
        {key: median(found) if found else None for key, found in seen.items()},
        float(routed.confidence.mean()),
    )


def as_text(rows: Sequence[Row], names: Sequence[str]) -> Iterator[str]:
    """Yield the lines of a Markdown table, and one with the mean of the groups that count."""
    yield "| images | confidence | " + " | ".join(names) + " |"
    yield "|---|---|" + "---|" * len(names)
    for row in rows:
        cells = [_cell(row.noticed[name], row.after[name]) for name in names]
        mark = "" if row.counts else " (does not count)"
        yield f"| {row.group}{mark} | {row.confidence:.2f} | " + " | ".join(cells) + " |"
    counted = [row for row in rows if row.counts]
    means = [f"{np.mean([row.noticed[name] for row in counted]):.1%}" for name in names]
    yield f"| **mean of {len(counted)} that count** | | " + " | ".join(means) + " |"


def _cell(noticed: float, after: float | None) -> str:
    return f"{noticed:.0%}" + ("" if after is None else f", {after:.0f}")
