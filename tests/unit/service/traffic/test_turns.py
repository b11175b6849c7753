"""So many calls at once; the others wait, are counted, and give up at their deadline."""

import asyncio

import pytest

from service.backends.protocol import Call
from service.errors import DeadlineExceeded
from service.traffic.turns import Turns


def test_the_third_of_two_waits_is_counted_and_comes_next():
    depths, waits, order = [], [], []

    async def work(turns, name, hold_s):
        async with turns.take(Call.within(5)) as wait_s:
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


def test_who_waits_to_the_deadline_or_leaves_takes_no_turn():
    depths = []

    async def wait(turns, allowed_s):
        async with turns.take(Call.within(allowed_s)):
            pass

    async def scene():
        turns = Turns(1, depths.append)
        async with turns.take(Call.within(5)):
            with pytest.raises(DeadlineExceeded):
                await wait(turns, 0.02)
            leaving = asyncio.ensure_future(wait(turns, 5))
            await asyncio.sleep(0.01)
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
        await wait(turns, 0.5)  # the turn is free again

    asyncio.run(scene())
    assert depths[-1] == 0


def test_a_failure_gives_the_turn_back():
    async def scene():
        turns = Turns(1)
        for _ in range(3):
            with pytest.raises(ValueError, match="boom"):
                async with turns.take(Call.within(0.5)):
                    raise ValueError("boom")

    asyncio.run(scene())
