"""Count the requests of one key, and refuse those beyond its rate per second or its quota per day.

The counts are in the memory of this process, and their size depends only on the keys and their rates. So N
gateways allow N times as much, and a quota begins anew when the process restarts.

The library `limits` was tried, but none of its strategies fits. In some seconds, its fixed window and its
sliding counter let through more requests than the limit. Its moving window is exact, but reads the wall
clock: if somebody sets the clock back by an hour, every caller is refused for an hour. Its store in memory
also starts a thread every 10 ms while requests come.
"""

import time
from collections import deque
from collections.abc import Callable

from service.access.keys import Key
from service.access_errors import QuotaExceeded, RateExceeded

_SECOND = 1.0
DAY_S = 86400


class Allowance:
    """The part of its rate and of its quota that one key has used."""

    def __init__(
        self, key: Key, now: Callable[[], float] = time.monotonic, clock: Callable[[], float] = time.time
    ) -> None:
        """Begin to count for `key`; the rate follows the clock `now`, and the quota's day follows `clock`."""
        self._now, self._clock = now, clock
        self._granted: deque[float] = deque(maxlen=key.rate or 0)
        self._day, self._used = 0, 0
        self._rate, self._quota = key.rate, key.quota

    def follow(self, key: Key) -> None:
        """Take over the limits of `key`, which may have changed; requests counted so far still count."""
        if key.rate != self._rate:
            self._granted = deque(self._granted, maxlen=key.rate or 0)
        self._rate, self._quota = key.rate, key.quota

    def take(self) -> None:
        """Count a request of the key; do not count it if it must be refused.

        Raises:
            RateExceeded, QuotaExceeded: the key may send no request now.
        """
        now = self._now()
        if self._rate is not None and len(self._granted) == self._rate:
            # [0] is the oldest of the last `rate` requests; the next may come a second after it.
            until_s = self._granted[0] + _SECOND - now
            if until_s > 0:
                raise RateExceeded(self._rate, until_s)
        self.take_more(1)
        self._granted.append(now)

    def take_more(self, count: int) -> None:
        """Count one request as `count` requests of the day, because it takes as much computing.

        Raises:
            QuotaExceeded: fewer than `count` requests are left on this day; then none is counted.
        """
        if self._quota is None:
            return
        time_s = self._clock()
        day = int(time_s // DAY_S)
        if day != self._day:
            self._day, self._used = day, 0
        if self._used + count > self._quota:
            raise QuotaExceeded(self._quota, (day + 1) * DAY_S - time_s, count)
        self._used += count

    def give_back(self, count: int = 1) -> None:
        """Subtract requests from the day's count, because they were not served or not needed."""
        self._used = max(0, self._used - count)
