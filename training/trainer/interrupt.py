"""Stop a run between optimizer steps instead of inside a step."""

import signal
from collections.abc import Callable
from types import FrameType
from typing import Self, TypeVar

Result = TypeVar("Result")


class _Stopped(BaseException):
    """The exception that the first signal raises during `unless_requested`.

    It is a BaseException, so that `except Exception` does not catch it.
    """


class StopRequest:
    """A `with` block in which the first Ctrl-C or SIGTERM only requests a stop; a second ends the process.

    The first signal never interrupts an optimizer step. If it did, the checkpoint that is written at the stop
    would hold half-updated weights.
    """

    def __init__(self) -> None:
        self.requested = False
        self._may_leave = False
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # as signal.signal returned it

    def unless_requested(self, work: Callable[[], Result]) -> Result | None:
        """Call `work` and return its result; return None if a stop is requested before or during the call.

        A request during the call interrupts `work` immediately.

        Args:
            work: a function that can be interrupted at any point, because nothing that it changes is used
                after a stop. Examples are a validation and the wait for a batch.
        """
        try:
            self._may_leave = True
            if self.requested:
                return None
            result = work()
            self._may_leave = False
            return result
        except _Stopped:
            return None
        finally:
            self._may_leave = False

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self.__exit__()  # a second signal has to end the run even if this process hangs outside Python
        if self._may_leave:
            self._may_leave = False
            raise _Stopped
