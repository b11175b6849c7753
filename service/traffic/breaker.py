"""A breaker in front of one backend and model: when it fails, it is left alone until a probe succeeds."""

from collections.abc import Callable
from enum import IntEnum
from time import monotonic


class State(IntEnum):
    """The values are those of the metric."""

    CLOSED = 0  # requests go through
    HALF_OPEN = 1  # nothing goes through but the probe that is under way
    OPEN = 2  # nothing goes through


class Breaker:
    """Counts failures in a row. Used from the event loop only."""

    def __init__(
        self,
        failures: int,
        on_change: Callable[[State], None] = lambda state: None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Start closed.

        Args:
            failures: how many in a row open it.
            on_change: told every new state.
            clock: seconds, ever growing.
        """
        self._failures = failures
        self._on_change = on_change
        self._clock = clock
        self._in_a_row = 0
        self._changed_at = clock()
        self.last_success = clock()
        self.state = State.CLOSED
        self.why = ""

    def begin(self) -> float:
        """Return the moment at which a call begins; its outcome is reported with it."""
        return self._clock()

    def idle_s(self) -> float:
        """Return how long ago the last answer came."""
        return self._clock() - self.last_success

    def succeeded(self, began: float) -> None:
        """Record an answer to a request."""
        self.last_success = self._clock()
        if self.state is State.CLOSED and began >= self._changed_at:
            self._in_a_row = 0

    def failed(self, began: float, why: str, *, at_once: bool = False) -> None:
        """Record that a request was not answered; `at_once` opens without waiting for more of them.

        What began before the last change of state says nothing about the present, and is not counted.
        """
        if self.state is not State.CLOSED or began < self._changed_at:
            return
        self._in_a_row += 1
        if at_once or self._in_a_row >= self._failures:
            self._change(State.OPEN, why)

    def probe_started(self) -> None:
        """Try an open breaker again."""
        if self.state is State.OPEN:
            self._change(State.HALF_OPEN, self.why)

    def probe_succeeded(self) -> None:
        """Let requests through."""
        self.last_success = self._clock()
        self._in_a_row = 0
        if self.state is not State.CLOSED:
            self._change(State.CLOSED, "")

    def probe_undecided(self) -> None:
        """Leave everything as it was: the probe did not run, so it proves nothing."""
        if self.state is State.HALF_OPEN:
            self._change(State.OPEN, self.why)

    def probe_failed(self, began: float, why: str) -> None:
        """Stop requests: a probe is a proof, it needs no second one, unless answers came meanwhile."""
        if self.state is State.CLOSED and self.last_success > began:
            return
        if self.state is not State.OPEN:
            self._change(State.OPEN, why)

    def _change(self, state: State, why: str) -> None:
        self.state = state
        self.why = why
        self._changed_at = self._clock()
        self._on_change(state)
