"""Stop requests to a failing backend until a probe succeeds: a circuit breaker per backend and model."""

from collections.abc import Callable
from enum import IntEnum
from time import monotonic


class State(IntEnum):
    """The states of a circuit breaker; the metric `sparsight_breaker_state` exports the same numbers."""

    CLOSED = 0  # requests go to the backend
    HALF_OPEN = 1  # only a probe goes to the backend
    OPEN = 2  # nothing goes to the backend


class Breaker:
    """A circuit breaker that opens after several failures in a row. Use it in the event loop only."""

    def __init__(
        self,
        failures: int,
        on_change: Callable[[State], None] = lambda state: None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Create a closed breaker.

        Args:
            failures: number of failures in a row that opens the breaker.
            on_change: called with every new state.
            clock: returns monotonic time in seconds.
        """
        self._failures = failures
        self._on_change = on_change
        self._clock = clock
        self._in_a_row = 0
        self._changed_at = clock()
        self.last_success = clock()
        self.state = State.CLOSED
        self.before = State.CLOSED  # state before the last change
        self.why = ""

    def begin(self) -> float:
        """Return the start time of a call.

        The caller passes this time to `succeeded`, `failed` or `probe_failed` when the call has ended.
        """
        return self._clock()

    def idle_s(self) -> float:
        """Return the seconds since the backend last answered a request or a probe."""
        return self._clock() - self.last_success

    def succeeded(self, began: float) -> None:
        """Record that a request that began at `began` was answered."""
        self.last_success = self._clock()
        if self.state is State.CLOSED and began >= self._changed_at:
            self._in_a_row = 0

    def failed(self, began: float, why: str, *, at_once: bool = False) -> None:
        """Record that a request was not answered; `at_once` opens the breaker after this single failure.

        A request that began before the last change of state is not counted, because it says nothing about
        the backend's present state.
        """
        if self.state is not State.CLOSED or began < self._changed_at:
            return
        self._in_a_row += 1
        if at_once or self._in_a_row >= self._failures:
            self._change(State.OPEN, why)

    def probe_started(self) -> None:
        """Make an open breaker half open, because a probe begins."""
        if self.state is State.OPEN:
            self._change(State.HALF_OPEN, self.why)

    def probe_succeeded(self) -> None:
        """Close the breaker, because a probe succeeded."""
        self.last_success = self._clock()
        self._in_a_row = 0
        if self.state is not State.CLOSED:
            self._change(State.CLOSED, "")

    def probe_undecided(self) -> None:
        """Open a half-open breaker again, because its probe did not run and so proves nothing."""
        if self.state is State.HALF_OPEN:
            self._change(State.OPEN, self.why)

    def probe_failed(self, began: float, why: str) -> None:
        """Open the breaker after one failed probe, unless a request was answered since the probe began."""
        if self.state is State.CLOSED and self.last_success > began:
            return
        if self.state is not State.OPEN:
            self._change(State.OPEN, why)

    def _change(self, state: State, why: str) -> None:
        self.before, self.state = self.state, state
        self.why = why
        self._changed_at = self._clock()
        self._on_change(state)
