"""Count the bytes of the images that one request names by URL."""

from service.errors import FetchTooLarge


class Room:
    """The bytes that the images of one request may have, all together."""

    def __init__(self, limit: int) -> None:
        """Allow `limit` bytes."""
        self._limit = limit
        self.used = 0

    def check(self, size_bytes: int) -> None:
        """Check that so many more bytes would fit.

        Raises:
            FetchTooLarge: they would not.
        """
        if self.used + size_bytes > self._limit:
            raise FetchTooLarge(self._limit)

    def take(self, size_bytes: int) -> None:
        """Count bytes that have arrived.

        Raises:
            FetchTooLarge: there are now more than allowed.
        """
        self.used += size_bytes
        self.check(0)
