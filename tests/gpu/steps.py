"""Records the steps of a trainer, and can ask it to stop after one of them."""

import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.gpu.sparsight import LossTerms, Trainer


@dataclass
class Watched:
    """Replaces a trainer's stepper, and records each step.

    Attributes:
        losses: the total loss of each step.
        ended_s: time at which each step, including the device's work, ended.
    """

    stepper: Any
    stop_after: int | None = None  # number of the step, from 1
    stop_at_s: float = float("inf")  # by time.monotonic()
    losses: list[float] = field(default_factory=list)
    ended_s: list[float] = field(default_factory=list)

    def take(self, parts: Sequence[Any], step: int, softness: float = 0.0) -> LossTerms:
        """Take the step; after the last wanted step, ask the trainer to stop."""
        terms: LossTerms = self.stepper.take(parts, step, softness)
        self.losses.append(float(terms.total))  # waits for the device
        self.ended_s.append(time.monotonic())
        if step + 1 == self.stop_after or self.ended_s[-1] >= self.stop_at_s:
            signal.raise_signal(signal.SIGTERM)
        return terms


def watch(trainer: Trainer, *, stop_after: int | None = None, stop_at_s: float = float("inf")) -> Watched:
    """Return a recorder of all further steps of a trainer."""
    watched = Watched(trainer.stepper, stop_after, stop_at_s)
    trainer.stepper = watched  # type: ignore[assignment]  # has the methods of a stepper
    return watched
