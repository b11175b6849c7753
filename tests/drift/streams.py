"""Streams of images, and the detectors that watch them: the service's own, and some that need no experts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from service.routing.reference import Layers, Reference
from service.routing.statistics import hotelling_p
from service.routing.watch import RATE, SPAN, STEP, Watch
from tests.drift.routed import Routed

SPANS = (125, 250, SPAN)
MEMBERS = {
    "confidence": ("confidence", "mean_confidence"),
    "objects": ("objects",),
    "brightness": ("brightness", "contrast"),
    "all three": ("confidence", "mean_confidence", "objects", "brightness", "contrast"),
}
"""The detectors without experts, and the figures of an image that each of them watches."""


class Detector(Protocol):
    """Watches a stream of images."""

    def first_alarm(self, group: Routed, order: NDArray[np.int64]) -> int | None:
        """Return after how many images of a group, in the given order, the first alarm came."""
        ...


@dataclass
class Experts:
    """The detector of the service."""

    reference: Reference
    layers: Layers

    @classmethod
    def of(cls, baseline: Routed, layers: Layers) -> "Experts":
        """Return the detector with a baseline."""
        reference = Reference.of(baseline.measured(), layers, range(len(layers.names)))
        assert reference is not None, "the baseline has too few images"
        return cls(reference, layers)

    def first_alarm(self, group: Routed, order: NDArray[np.int64]) -> int | None:
        """Return after how many images the first alarm came."""
        watch, images = Watch(self.reference, self.layers), group.images(self.layers)
        for start in range(0, len(order), STEP):
            watch.add_all(images.at(order[start : start + STEP]))
            if watch.alarm is not None:
                return watch.count
        return None


@dataclass
class Plain:
    """A detector that compares means of figures with the service's test, at the same rate of false alarms."""

    members: Sequence[str]
    baseline: Routed

    def first_alarm(self, group: Routed, order: NDArray[np.int64]) -> int | None:
        """Return after how many images the first alarm came."""
        base, values = self._figures(self.baseline), self._figures(group)[order]
        inverse = np.linalg.inv(np.atleast_2d(np.cov(base.T)) + 1e-9 * np.eye(base.shape[1]))
        for count in range(STEP, len(values) + 1, STEP):
            for span in (span for span in SPANS if span <= count):
                shift = values[count - span : count].mean(axis=0) - base.mean(axis=0)
                if hotelling_p(shift, inverse, span, len(base)) < RATE * STEP / len(SPANS):
                    return count
        return None

    def _figures(self, group: Routed) -> NDArray[np.float64]:
        columns = {name: getattr(group, name) for name in self.members}
        if "objects" in columns:
            columns["objects"] = np.log1p(
                columns["objects"]
            )  # a few crowded images would outweigh the others
        return np.stack(list(columns.values()), axis=1)


def detectors(baseline: Routed, layers: Layers) -> dict[str, Detector]:
    """Return every detector, with the same baseline."""
    plain = {name: Plain(members, baseline) for name, members in MEMBERS.items()}
    return {"experts": Experts.of(baseline, layers), **plain}
