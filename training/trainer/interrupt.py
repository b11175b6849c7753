"""Stops a run between optimizer steps instead of inside one."""

import signal
from types import FrameType
from typing import Self


class StopRequest:
    """A block in which the first Ctrl-C or SIGTERM only sets a flag; the second raises KeyboardInterrupt.

    An interrupt inside an optimizer step would leave weights half updated, and they would be saved so.
    """

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # as signal.signal returned it

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
