"""Refuses work that could not be done in time, before it costs anything."""

from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import Overloaded

_RETRY_AFTER_S = 1


class Admission:
    """Counts requests in flight, waiting ones included. Used from the event loop only.

    Together with the limit on a body it bounds the memory that callers can make the service hold.
    """

    def __init__(self, limit: int) -> None:
        """Allow `limit` requests at the same time."""
        self._limit = limit
        self._inflight = 0

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Hold a place while the request is served.

        Raises:
            Overloaded: every place is taken.
        """
        if self._inflight >= self._limit:
            raise Overloaded(self._limit, _RETRY_AFTER_S)
        self._inflight += 1
        try:
            yield
        finally:
            self._inflight -= 1
