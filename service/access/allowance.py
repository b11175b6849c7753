"""Count the requests of a key: so many in any second, so many on a day.

Everything is counted in this process, in memory that is bounded by the keys and their rates: N gateways
allow N times as much, and a quota begins again when the process does.

Own code rather than the library `limits`, whose strategies were tried. Its fixed window and its sliding
counter let more than the limit through in some seconds. Its moving window is exact, but reads the wall
clock, so that setting the clock back by an hour refuses every caller for an hour. And its store in memory
starts a thread every 10 ms while requests come.
"""

import time
from collections import deque
from collections.abc import Callable

from service.access.keys import Key
from service.errors import QuotaExceeded, RateExceeded

_SECOND = 1.0
DAY_S = 86400


class Allowance:
    """What one key has used of its rate and its quota."""

    def __init__(
        self, key: Key, now: Callable[[], float] = time.monotonic, clock: Callable[[], float] = time.time
    ) -> None:
        """Begin to count for `key`; `now` measures the rate, and `clock` says which day it is."""
        self._now, self._clock = now, clock
        self._granted: deque[float] = deque(maxlen=key.rate or 0)
        self._day, self._used = 0, 0
        self._rate, self._quota = key.rate, key.quota

    def follow(self, key: Key) -> None:
        """Go on with other limits, without forgetting what was used."""
        if key.rate != self._rate:
            self._granted = deque(self._granted, maxlen=key.rate or 0)
        self._rate, self._quota = key.rate, key.quota

    def take(self) -> None:
        """Count a request; one that is refused counts for nothing.

        Raises:
            RateExceeded, QuotaExceeded: the key may send no request now.
        """
        now = self._now()
        if self._rate is not None and len(self._granted) == self._rate:
            # The request before the last `rate` ones: until a second after it, one more would be too many.
            until_s = self._granted[0] + _SECOND - now
            if until_s > 0:
                raise RateExceeded(self._rate, until_s)
        if self._quota is not None:
            time_s = self._clock()
            day = int(time_s // DAY_S)
            if day != self._day:
                self._day, self._used = day, 0
            if self._used >= self._quota:
                raise QuotaExceeded(self._quota, (day + 1) * DAY_S - time_s)
            self._used += 1
        self._granted.append(now)

    def give_back(self) -> None:
        """Take a request off the quota: the gateway had no room for it."""
        self._used = max(0, self._used - 1)
