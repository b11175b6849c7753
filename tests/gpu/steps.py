"""Watches the steps of a trainer, and stops it after one of them as a service manager would."""

import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.gpu.sparsight import LossTerms, Trainer


@dataclass
class Watched:
    """Stands where a trainer's stepper stood.

    Attributes:
        losses: of each step, the total.
        ended_s: when each step had ended, the device's work included.
    """

    stepper: Any
    stop_after: int | None = None  # number of the step, from 1
    stop_at_s: float = float("inf")  # by time.monotonic()
    losses: list[float] = field(default_factory=list)
    ended_s: list[float] = field(default_factory=list)

    def take(self, parts: Sequence[Any], step: int) -> LossTerms:
        """Take the step; where it is the last one wanted, ask the trainer to stop."""
        terms: LossTerms = self.stepper.take(parts, step)
        self.losses.append(float(terms.total))  # waits for the device
        self.ended_s.append(time.monotonic())
        if step + 1 == self.stop_after or self.ended_s[-1] >= self.stop_at_s:
            signal.raise_signal(signal.SIGTERM)
        return terms


def watch(trainer: Trainer, *, stop_after: int | None = None, stop_at_s: float = float("inf")) -> Watched:
    """Watch the steps that a trainer is about to take."""
    watched = Watched(trainer.stepper, stop_after, stop_at_s)
    trainer.stepper = watched  # type: ignore[assignment]  # it does what a stepper does
    return watched
