"""What a fuzzed part may do: accept or refuse its input, and never break a promise."""

from typing import Literal

Outcome = Literal["accepted", "refused"]


class BrokenPromise(Exception):
    """The fuzzed part did something that it must not do."""

    def __init__(self, kind: str, words: str) -> None:
        """Name the promise, and tell in words what happened."""
        super().__init__(f"{kind}: {words}")
        self.kind = kind
