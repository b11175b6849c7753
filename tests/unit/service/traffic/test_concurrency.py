"""A concurrency limit: further calls wait, are counted, and fail at their deadline."""

import asyncio

import pytest

from service.errors import DeadlineExceeded
from service.request import RequestContext
from service.traffic.concurrency import ConcurrencyLimit


def test_the_third_of_two_waits_is_counted_and_comes_next():
    depths, waits, order = [], [], []

    async def work(limit, name, hold_s):
        async with limit.acquire(RequestContext.within(5)) as wait_s:
            order.append(name)
            await asyncio.sleep(hold_s)
        return wait_s

    async def three():
        limit = ConcurrencyLimit(2, depths.append, waits.append)
        return await asyncio.gather(*(work(limit, name, 0.5) for name in "abc"))

    first, second, third = asyncio.run(three())
    assert (order, max(depths), depths[-1]) == (["a", "b", "c"], 1, 0)
    assert max(first, second) < 0.25 < third
    assert waits == pytest.approx([first, second, third])


def test_who_waits_to_the_deadline_or_leaves_takes_no_place():
    depths = []

    async def wait(limit, allowed_s):
        async with limit.acquire(RequestContext.within(allowed_s)):
            pass

    async def scene():
        limit = ConcurrencyLimit(1, depths.append)
        async with limit.acquire(RequestContext.within(5)):
            with pytest.raises(DeadlineExceeded):
                await wait(limit, 0.02)
            leaving = asyncio.ensure_future(wait(limit, 5))
            await asyncio.sleep(0.01)
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
        await wait(limit, 0.5)  # the place is free again

    asyncio.run(scene())
    assert depths[-1] == 0


def test_a_failure_gives_the_place_back():
    async def scene():
        limit = ConcurrencyLimit(1)
        for _ in range(3):
            with pytest.raises(ValueError, match="boom"):
                async with limit.acquire(RequestContext.within(0.5)):
                    raise ValueError("boom")

    asyncio.run(scene())


def test_more_calls_are_prepared_than_run_and_their_waiting_is_added_up():
    depths, waits, begun = [], [], []

    async def work(limit, name):
        async with limit.room(RequestContext.within(5)) as waited_s:
            begun.append(name)
            async with limit.acquire(RequestContext.within(5), waited_s) as wait_s:
                await asyncio.sleep(0.2)
        return waited_s, wait_s

    async def scene():
        limit = ConcurrencyLimit(1, depths.append, waits.append, ahead=1)
        calls = [asyncio.ensure_future(work(limit, name)) for name in "abcd"]
        await asyncio.sleep(0.1)
        early = list(begun), depths[-1]
        return early, await asyncio.gather(*calls)

    early, times = asyncio.run(scene())
    assert early == (["a", "b"], 3)
    assert begun == ["a", "b", "c", "d"]
    assert waits == pytest.approx([sum(pair) for pair in times])
    assert [round(wait_s / 0.2) for wait_s in waits] == [0, 1, 2, 3]
    assert depths[-1] == 0
