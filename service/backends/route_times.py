"""Learn how long each route of a model with paths takes, to know an image's time before its graph runs."""

from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from time import monotonic

from service.errors import RouteTooSlow

RouteKey = tuple[int, int]
"""A path and a top_k."""

_NEWEST = 0.1  # least weight of the newest time in the mean
# A longer time counts as so many means: one run beside other work says little about the next. A longer mean
# counts as so many times: it is from runs beside other work, or from one that was the first.
_MOST = 2.0
_PROOF = 2  # runs that prove how slow a route is: the only one may have run beside other work
_DOUBT_S = 10.0  # for so long, a route is believed to be too slow without a run that proves it


class RouteTimes:
    """The running mean of each route's time for one image. Use it from several threads.

    Until a route has had _PROOF runs, it gets the time of the routes that have, by their operations. A slow
    run may have run beside other work, so no single one proves that the route is slow. A fast run does prove
    that the route is fast. So a single one lowers the mean to less than twice its time.

    If a route is too slow for some images, and no others run on it for _DOUBT_S seconds, the next image runs
    all the same, and a lower time replaces the mean. Otherwise a mean from a busy moment would turn images
    down for ever.
    """

    def __init__(self, gflops: Mapping[RouteKey, float], clock: Callable[[], float] = monotonic) -> None:
        """Begin without times.

        Args:
            gflops: operations of each route, in 1e9.
            clock: returns monotonic time in seconds.
        """
        self._gflops = dict(gflops)
        self._clock = clock
        self._mean_s: dict[RouteKey, float] = {}
        self._runs: dict[RouteKey, int] = {}
        self._too_slow_since: dict[RouteKey, float] = {}  # first time since the last run
        self._lock = Lock()

    def expected_s(self, key: RouteKey) -> float | None:
        """Return the seconds that a route will probably take; None if no route has had enough runs yet."""
        with self._lock:
            return self._expected_s(key)

    def choose(self, key: RouteKey, cheaper: Sequence[int], left_s: float) -> RouteKey:
        """Return the route that should run for an image with `left_s` seconds until its deadline.

        Args:
            key: the route that the request asks for.
            cheaper: top_k that may replace its own, highest first.
            left_s: seconds until the deadline.

        Raises:
            RouteTooSlow: none of these routes would probably end in time.
        """
        path, top_k = key
        for one in (top_k, *(each for each in cheaper if each < top_k)):
            if self.fits((path, one), left_s):
                return path, one
        lower = [other for where, other in self._gflops if where == path and other < top_k]
        in_time = [one for one in lower if (self.expected_s((path, one)) or 0.0) <= left_s]
        needed_s = self.expected_s(key) or 0.0
        raise RouteTooSlow(path, top_k, needed_s, left_s, max(in_time, default=None))

    def fits(self, key: RouteKey, left_s: float) -> bool:
        """Return whether a route should run for an image with `left_s` seconds until its deadline."""
        with self._lock:
            expected_s = self._expected_s(key)
            if expected_s is None or expected_s <= left_s:
                return True
            self._too_slow_since.setdefault(key, self._clock())
            return self._is_doubtful(key)

    def learn(self, key: RouteKey, seconds: float) -> None:
        """Add the time of a run to the mean of its route."""
        with self._lock:
            runs, mean_s = self._runs.get(key, 0), self._mean_s.get(key, seconds)
            mean_s = min(mean_s, seconds * (1 if self._is_doubtful(key) else _MOST))
            weight = max(_NEWEST, 1 / (runs + 1))
            self._mean_s[key] = mean_s + weight * (min(seconds, _MOST * mean_s) - mean_s)
            self._runs[key] = runs + 1
            self._too_slow_since.pop(key, None)

    def _expected_s(self, key: RouteKey) -> float | None:
        proved = [one for one, runs in self._runs.items() if runs >= _PROOF]
        if key in proved:
            return self._mean_s[key]
        gflops = sum(self._gflops[one] for one in proved)
        if not gflops > 0:
            return None
        scaled_s = sum(self._mean_s[one] for one in proved) / gflops * self._gflops[key]
        return min(scaled_s, self._mean_s.get(key, scaled_s))

    def _is_doubtful(self, key: RouteKey) -> bool:
        since = self._too_slow_since.get(key)
        return since is not None and self._clock() - since >= _DOUBT_S
