"""Schedule images on a backend: limit how many run at once, share turns fairly, and predict the wait.

A turn is the time during which the backend serves one image.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import NamedTuple, Self

from service.errors import BackendUnavailable
from service.request import Priority, RequestContext
from service.timeline import begin

_SHARES: dict[Priority, int] = {"high": 8, "normal": 4, "low": 1}  # shares of the turns while all three wait
_LARGE_BYTES = 1_000_000  # files of about this size take longer to decode than a small image takes in all
_NEWEST = 0.1  # weight of the newest duration in the mean


class Lane(NamedTuple):
    """The queue in which an image waits, named by the priority, the model, and whether the file is large."""

    priority: Priority
    model: str
    large: bool

    @classmethod
    def of(cls, priority: Priority, model: str, size_bytes: int) -> Self:
        """Return the lane of an image file with `size_bytes` bytes."""
        return cls(priority, model, size_bytes > _LARGE_BYTES)

    @property
    def kind(self) -> tuple[str, bool]:
        """Return the key for the duration of turns: the model, and whether the file is large."""
        return self.model, self.large


@dataclass(eq=False)
class _Waiting:
    lane: Lane
    movable: bool
    came: float = field(default_factory=perf_counter)
    turn: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Turns:
    """A limit on the images that a backend serves at once. Use it in the event loop only.

    Three rules decide which waiting image is next. While images of several priorities wait, the priorities
    get turns in the proportion 8 : 4 : 1, so that none starves. Within a priority, the lane whose model and
    file size have the fewest images in service comes first, so that large files or a busy model do not hold
    up the others. Within a lane, the image that arrived first comes first.
    """

    def __init__(
        self,
        count: int,
        on_depth: Callable[[int], None] = lambda depth: None,
        on_wait_s: Callable[[float], None] = lambda wait_s: None,
    ) -> None:
        """Allow at most `count` images at once.

        Args:
            count: maximum number of images at once.
            on_depth: called with the number of waiting images whenever it changes.
            on_wait_s: called with the seconds that each image waited.
        """
        self._count = self._free = count
        self._on_depth = on_depth
        self._on_wait_s = on_wait_s
        self._lanes: dict[Lane, deque[_Waiting]] = {}  # only lanes in which an image waits
        self._running: Counter[tuple[str, bool]] = Counter()
        self._mean_s: dict[tuple[str, bool], float] = {}  # duration of a turn
        # A priority's turns so far, divided by its share; who is furthest behind comes next.
        self._had = dict.fromkeys(_SHARES, 0.0)

    @property
    def waiting(self) -> int:
        """Return the number of waiting images."""
        return sum(map(len, self._lanes.values()))

    @property
    def is_free(self) -> bool:
        """Return whether an image would get its turn at once."""
        return self._free > 0

    @asynccontextmanager
    async def take(
        self, lane: Lane, context: RequestContext, *, movable: bool = False
    ) -> AsyncIterator[float]:
        """Wait for a turn, and hold it during the block; yield the seconds waited.

        Raises:
            DeadlineExceeded: the deadline passed before the turn came.
            BackendUnavailable: `turn_away` ended the wait; this happens only if `movable` is true.
        """
        began = perf_counter()
        with begin(context.step, "queue"):
            context.left_s()  # raises after the deadline
            if self._free:  # while a turn is free, no image waits
                self._free -= 1
            else:
                await self._wait(_Waiting(lane, movable), context)
        started = perf_counter()
        self._on_wait_s(started - began)
        self._running[lane.kind] += 1
        try:
            yield started - began
        finally:
            self._running[lane.kind] -= 1
            self._learn(lane.kind, perf_counter() - started)
            self._pass_on()

    def predict_wait_s(self, lane: Lane) -> float:
        """Return the seconds that an image would wait if it arrived now, predicted from past turns.

        At most, the image waits for all work that is queued now. If its lane gets turns before others, the
        wait is shorter: then it depends on the work in its own lane, and on the lane's share of the turns.
        """
        if self._free:
            return 0.0
        lanes = {*self._lanes, lane}
        in_service = sum(self._mean(kind) * number for kind, number in self._running.items()) / 2
        everything = sum(map(self._work_s, self._lanes))
        shares = {one.priority: _SHARES[one.priority] for one in lanes}
        beside = sum(one.priority == lane.priority for one in lanes)
        own_share = shares[lane.priority] / sum(shares.values()) / beside
        return (in_service + min(everything, self._work_s(lane) / own_share)) / self._count

    def mean_s(self, lane: Lane) -> float:
        """Return the mean duration of the lane's turns in seconds; 0 if it has had none."""
        return self._mean_s.get(lane.kind, 0.0)

    def turn_away(self, model: str, why: str) -> None:
        """End the waits of a model's movable images with BackendUnavailable."""
        for lane in [lane for lane in self._lanes if lane.model == model]:
            for waiting in [one for one in self._lanes[lane] if one.movable]:
                self._remove(waiting)
                if not waiting.turn.done():
                    waiting.turn.set_exception(BackendUnavailable(why))

    def _mean(self, kind: tuple[str, bool]) -> float:
        return self._mean_s.get(kind, 0.0)

    def _work_s(self, lane: Lane) -> float:
        return len(self._lanes.get(lane, ())) * self._mean(lane.kind)

    def _learn(self, kind: tuple[str, bool], duration_s: float) -> None:
        mean_s = self._mean_s.get(kind, duration_s)
        self._mean_s[kind] = mean_s + _NEWEST * (duration_s - mean_s)

    async def _wait(self, waiting: _Waiting, context: RequestContext) -> None:
        lane = waiting.lane
        if not any(one.priority == lane.priority for one in self._lanes):
            # A priority that was idle does not catch up on the turns that it did not need.
            busy = min((self._had[one.priority] for one in self._lanes), default=0.0)
            self._had[lane.priority] = max(self._had[lane.priority], busy)
        self._lanes.setdefault(lane, deque()).append(waiting)
        self._on_depth(self.waiting)
        try:
            async with context.in_time():
                await waiting.turn
        except BaseException:
            turn = waiting.turn
            if not turn.done() or turn.cancelled():
                self._remove(waiting)
            elif turn.exception() is None:
                self._pass_on()  # the turn came together with the deadline
            raise

    def _pass_on(self) -> None:
        """Give a free turn to the next image by the rules of this class."""
        while self._lanes:
            priority = min({lane.priority for lane in self._lanes}, key=self._had.__getitem__)
            lane = min(
                (lane for lane in self._lanes if lane.priority == priority),
                key=lambda lane: (self._running[lane.kind], self._lanes[lane][0].came),
            )
            waiting = self._lanes[lane][0]
            self._remove(waiting)
            if not waiting.turn.done():  # if done, its caller has left or its deadline has passed
                self._had[priority] += 1 / _SHARES[priority]
                waiting.turn.set_result(None)
                return
        self._had = dict.fromkeys(_SHARES, 0.0)
        self._free += 1

    def _remove(self, waiting: _Waiting) -> None:
        lane = self._lanes.get(waiting.lane, deque())
        if waiting not in lane:
            return
        lane.remove(waiting)
        if not lane:
            del self._lanes[waiting.lane]
        self._on_depth(self.waiting)
