"""Limit the total bytes of the images that one request names by URL."""

from service.errors import FetchTooLarge


class Room:
    """A limit on the bytes of all images of one request together."""

    def __init__(self, limit: int) -> None:
        """Allow `limit` bytes."""
        self._limit = limit
        self.used = 0

    def check(self, size_bytes: int) -> None:
        """Check that `size_bytes` more bytes stay within the limit, without counting them.

        Raises:
            FetchTooLarge: the bytes would exceed the limit.
        """
        if self.used + size_bytes > self._limit:
            raise FetchTooLarge(self._limit)

    def take(self, size_bytes: int) -> None:
        """Count `size_bytes` bytes that have arrived.

        Raises:
            FetchTooLarge: the bytes counted so far exceed the limit.
        """
        self.used += size_bytes
        self.check(0)
