"""Refuse requests over a limit early, before the service reads their bodies."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.errors import Overloaded

_MEGABYTE = 1_000_000
# A queue of so many turns evens out arrivals at random moments: with fewer, backends would stand idle while
# images are refused; with more, every image waits longer under overload, and no more are served.
_USUAL_TURNS = 2


class Admission:
    """Limits on the requests in flight, including waiting requests, and on the bytes of their bodies.

    Both limits bound the memory that requests can use. Use it in the event loop only.
    """

    def __init__(self, max_requests: int, max_bytes: int) -> None:
        """Allow at most `max_requests` requests at the same time, with at most `max_bytes` bytes in all."""
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._requests = self._bytes = 0

    @contextmanager
    def enter(self, size_bytes: int = 0) -> Iterator[None]:
        """Count a request with a body of `size_bytes` bytes as in flight during the block.

        One request is always allowed, however large its body is.

        Raises:
            Overloaded: with this request, there would be too many requests or bytes in flight.
        """
        if self._requests >= self._max_requests:
            raise Overloaded(f"{self._max_requests} requests (SPARSIGHT_MAX_INFLIGHT) are already in flight")
        self._check_bytes(size_bytes, others=self._requests > 0)
        self._requests += 1
        self._bytes += size_bytes
        try:
            yield
        finally:
            self._requests -= 1
            self._bytes -= size_bytes

    @contextmanager
    def grow(self, size_bytes: int) -> Iterator[Callable[[int], None]]:
        """Count `size_bytes` more bytes for a request in flight, until the block ends.

        It yields a function that lowers this number when the real number of bytes is known.

        Raises:
            Overloaded: there would be too many bytes in flight. If this is the only request, it is always
                allowed.
        """
        self._check_bytes(size_bytes, others=self._requests > 1)
        counted = size_bytes
        self._bytes += counted

        def lower(used_bytes: int) -> None:
            nonlocal counted
            self._bytes += used_bytes - counted
            counted = used_bytes

        try:
            yield lower
        finally:
            self._bytes -= counted

    def _check_bytes(self, size_bytes: int, *, others: bool) -> None:
        if others and self._bytes + size_bytes > self._max_bytes:
            raise Overloaded(
                f"the requests in flight have {self._bytes / _MEGABYTE:.1f} MB, and this one has "
                f"{size_bytes / _MEGABYTE:.1f} MB; at most {self._max_bytes / _MEGABYTE:g} MB "
                "(SPARSIGHT_MAX_INFLIGHT_BYTES) are taken at once"
            )


def check_wait(wait_s: float, turn_s: float, longest_s: float | None, allowed_s: float) -> None:
    """Check that an image's turn would come soon enough; an image without a wait always passes.

    Args:
        wait_s: predicted seconds until the turn.
        turn_s: seconds that a turn lasts on average.
        longest_s: the longest wait that the operator allows; None for _USUAL_TURNS times turn_s.
        allowed_s: seconds until the caller's deadline.

    Raises:
        Overloaded: the wait would be too long, or the answer would come after the deadline.
    """
    if longest_s is None:
        longest_s = _USUAL_TURNS * turn_s
    if wait_s > longest_s:
        raise Overloaded(
            f"an image would wait {wait_s:.2f} s for its turn, longer than the {longest_s:.2g} s that are "
            "allowed (SPARSIGHT_MAX_QUEUE_S)",
            wait_s - longest_s,
        )
    if wait_s > 0 and wait_s + turn_s > allowed_s:
        raise Overloaded(
            f"the answer would take about {wait_s + turn_s:.2f} s, longer than the "
            f"{round(allowed_s, 2):g} s that are left for it",
            wait_s + turn_s - allowed_s,
        )
