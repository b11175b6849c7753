"""Turns on a backend: further images wait, are counted, overtake by rules, and fail at their deadline."""

import asyncio
import contextlib
import selectors

import pytest

from service.errors import DeadlineExceeded
from service.request import RequestContext
from service.traffic.turns import Lane, Turns

LANE = Lane("normal", "m", large=False)


def test_the_third_of_two_waits_is_counted_and_comes_next():
    depths, waits, order = [], [], []

    async def work(turns, name, hold_s):
        async with turns.take(LANE, RequestContext.within(5)) as wait_s:
            order.append(name)
            await asyncio.sleep(hold_s)
        return wait_s

    async def three():
        turns = Turns(2, depths.append, waits.append)
        return await asyncio.gather(*(work(turns, name, 0.5) for name in "abc"))

    first, second, third = asyncio.run(three())
    assert (order, max(depths), depths[-1]) == (["a", "b", "c"], 1, 0)
    assert max(first, second) < 0.25 < third
    assert waits == pytest.approx([first, second, third])


def test_who_waits_to_the_deadline_or_leaves_takes_no_place():
    depths = []

    async def wait(turns, allowed_s):
        async with turns.take(LANE, RequestContext.within(allowed_s)):
            pass

    async def scene():
        turns = Turns(1, depths.append)
        async with turns.take(LANE, RequestContext.within(5)):
            with pytest.raises(DeadlineExceeded):
                await wait(turns, 0.02)
            leaving = asyncio.ensure_future(wait(turns, 5))
            await asyncio.sleep(0.01)
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
        await wait(turns, 0.5)  # the place is free again

    asyncio.run(scene())
    assert depths[-1] == 0


def test_a_failure_gives_the_place_back():
    async def scene():
        turns = Turns(1)
        for _ in range(3):
            with pytest.raises(ValueError, match="boom"):
                async with turns.take(LANE, RequestContext.within(0.5)):
                    raise ValueError("boom")

    asyncio.run(scene())


def serve(lanes, count=1, running=()):
    """Let images come while `running` are in service, then end one turn after the other; return the order."""
    order = []

    async def scene():
        turns = Turns(count)
        ends = [asyncio.Event() for _ in running]

        async def hold(lane, end):
            async with turns.take(lane, RequestContext.within(5)):
                await end.wait()

        async def work(lane):
            async with turns.take(lane, RequestContext.within(5)):
                order.append(lane)
                await asyncio.sleep(0)

        held = [asyncio.ensure_future(hold(lane, end)) for lane, end in zip(running, ends, strict=True)]
        await asyncio.sleep(0)
        waiting = [asyncio.ensure_future(work(lane)) for lane in lanes]
        await asyncio.sleep(0)
        for end in ends:
            end.set()
            for _ in range(5 * len(lanes)):
                await asyncio.sleep(0)
        await asyncio.gather(*held, *waiting)

    asyncio.run(scene())
    return order


HIGH, NORMAL, LOW = (Lane(priority, "m", large=False) for priority in ("high", "normal", "low"))
LARGE, OTHER = Lane("normal", "m", large=True), Lane("normal", "other", large=False)


def test_priorities_share_the_turns_8_to_4_to_1_and_none_starves():
    lanes = [LOW] * 26 + [NORMAL] * 26 + [HIGH] * 26
    order = serve(lanes, running=[NORMAL])
    first = order[:26]
    assert {lane.priority: first.count(lane) for lane in (HIGH, NORMAL, LOW)} == {
        "high": 16,
        "normal": 8,
        "low": 2,
    }
    assert sorted(order) == sorted(lanes)


def test_a_priority_that_was_idle_does_not_catch_up():
    """After a long time of normal images alone, low ones get their share and no more."""
    order = serve([NORMAL] * 40 + [LOW] * 5, running=[NORMAL])
    assert order[:11].count(LOW) in (2, 3)


def test_small_files_and_other_models_pass_those_that_have_a_turn_already():
    order = serve([LARGE, LARGE, LANE, OTHER, LANE], count=2, running=[LARGE, LARGE])
    # One large image still runs when the first turn ends, so the small ones and the other model come first.
    assert order.index(LANE) < order.index(LARGE)
    assert order.index(OTHER) < order.index(LARGE)


def test_within_a_lane_who_came_first_is_first():
    names = []

    async def scene():
        turns = Turns(1)

        async def work(name):
            async with turns.take(LANE, RequestContext.within(5)):
                names.append(name)

        async with turns.take(LANE, RequestContext.within(5)):
            tasks = [asyncio.ensure_future(work(name)) for name in range(8)]
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)

    asyncio.run(scene())
    assert names == list(range(8))


def predicted(turn_s, ahead, lane, count=2):
    """Return the predicted wait of an image after turns of `turn_s`, with images of `ahead` in the queue."""

    async def scene():
        turns = Turns(count)
        for kind, duration_s in turn_s.items():
            turns._learn(kind.kind, duration_s)

        async def work(one):
            async with turns.take(one, RequestContext.within(5)):
                await asyncio.sleep(5)

        tasks = []
        for one in ahead:
            tasks.append(asyncio.ensure_future(work(one)))
            await asyncio.sleep(0)
        wait_s = turns.predict_wait_s(lane)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return wait_s, turns.waiting

    wait_s, waiting = asyncio.run(scene())
    assert waiting == 0
    return wait_s


def test_nobody_waits_while_a_turn_is_free():
    assert predicted({LANE: 0.1}, [LANE], LANE) == 0


def test_the_wait_is_half_of_what_runs_and_all_that_waits_divided_by_the_turns():
    assert predicted({LANE: 0.1}, [LANE] * 2, LANE) == pytest.approx(0.05)
    assert predicted({LANE: 0.1}, [LANE] * 8, LANE) == pytest.approx((0.1 + 0.6) / 2)


def test_an_image_that_overtakes_does_not_wait_for_all():
    ahead = [LANE] * 12
    assert predicted({LANE: 0.1}, ahead, HIGH) == pytest.approx(0.05)
    assert predicted({LANE: 0.1}, ahead, LOW) == pytest.approx(0.05)
    assert predicted({LANE: 0.1, LARGE: 0.4}, [*ahead, LARGE], LARGE) == pytest.approx(0.05 + 0.4 * 2 / 2)


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only while there is nothing to do, so a busy machine delays nothing."""

    def __init__(self):
        self.now = 0.0
        super().__init__(selector := selectors.DefaultSelector())
        look = selector.select

        def select(timeout=None):
            ready = look(0)
            self.now += 0 if ready else timeout or 0
            return ready

        selector.select = select

    def time(self):
        return self.now


def test_the_prediction_comes_true(monkeypatch):
    """Images of known duration wait about as long as was predicted when they came."""
    predicted_s, waited_s = [], []

    async def scene():
        turns = Turns(2)

        async def work(late_s):
            await asyncio.sleep(late_s)
            predicted_s.append(turns.predict_wait_s(LANE))
            async with turns.take(LANE, RequestContext.within(5)) as wait_s:
                waited_s.append(wait_s)
                await asyncio.sleep(0.02)

        await asyncio.gather(*(work(0.004 * i) for i in range(60)))  # 2.5 times the capacity

    loop = SimulatedLoop()
    monkeypatch.setattr("service.traffic.turns.perf_counter", loop.time)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(scene())
    # The first ones have nothing to predict from.
    assert sum(waited_s[20:]) == pytest.approx(sum(predicted_s[20:]), rel=0.05)


def test_a_backend_that_fell_silent_frees_only_those_that_another_can_serve():
    async def scene():
        turns = Turns(1)

        async def work(lane, movable):
            async with turns.take(lane, RequestContext.within(0.2), movable=movable):
                return "served"

        async with turns.take(LANE, RequestContext.within(5)):
            asked = [work(LANE, True), work(LANE, False), work(OTHER, True)]
            tasks = [asyncio.ensure_future(one) for one in asked]
            await asyncio.sleep(0)
            turns.turn_away("m", "it is silent")
        return await asyncio.gather(*tasks, return_exceptions=True)

    moved, stayed, other = asyncio.run(scene())
    assert (str(moved), stayed, other) == ("it is silent", "served", "served")


@pytest.mark.parametrize("leaves", [0, 1, 2])
def test_no_turn_is_lost_when_a_caller_leaves_at_the_moment_its_turn_comes(leaves):
    """The turn ends and the caller leaves within one step of the event loop, in either order."""
    depths = []

    async def scene(first):
        turns = Turns(1, depths.append)

        async def work():
            async with turns.take(LANE, RequestContext.within(5)):
                return "served"

        async with turns.take(LANE, RequestContext.within(5)):
            tasks = [asyncio.ensure_future(work()) for _ in range(3)]
            await asyncio.sleep(0)
            if first == "leaves":
                tasks[leaves].cancel()
        if first == "ends":
            tasks[leaves].cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        async with asyncio.timeout(0.5):
            async with turns.take(LANE, RequestContext.within(5)):  # the turn is still there
                return [answer for answer in answers if answer == "served"]

    for first in ("leaves", "ends"):
        assert asyncio.run(scene(first)) == ["served", "served"]
        assert depths[-1] == 0


def test_no_turn_is_lost_in_a_storm_of_callers_that_leave():
    async def scene():
        turns = Turns(3)

        async def work(stays_s):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(stays_s), turns.take(LANE, RequestContext.within(5)):
                    await asyncio.sleep(0.001)

        await asyncio.gather(*(work(0.0005 * (i % 7)) for i in range(600)))
        return turns._free, turns.waiting

    assert asyncio.run(scene()) == (3, 0)
