"""Refuse requests over a limit early, before the service reads their bodies."""

from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import Overloaded

_RETRY_AFTER_S = 1


class Admission:
    """A limit on the requests in flight, including waiting ones. Use it in the event loop only.

    This limit and the limit on a body's size bound the memory that requests can use.
    """

    def __init__(self, limit: int) -> None:
        """Allow at most `limit` requests at the same time."""
        self._limit = limit
        self._inflight = 0

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Count a request as in flight while the block of the `with` statement runs.

        Raises:
            Overloaded: the maximum number of requests is already in flight.
        """
        if self._inflight >= self._limit:
            raise Overloaded(self._limit, _RETRY_AFTER_S)
        self._inflight += 1
        try:
            yield
        finally:
            self._inflight -= 1
