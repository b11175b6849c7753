"""The work for a request goes on until its caller leaves."""

import asyncio

import pytest
from starlette.requests import ClientDisconnect, Request

from service.rest.disconnect import unless_caller_leaves


class Caller:
    """A caller that stays until it is told to leave."""

    def __init__(self):
        self.leave = asyncio.Event()
        self.request = Request({"type": "http"}, self._receive)

    async def _receive(self):
        await self.leave.wait()
        return {"type": "http.disconnect"}


def test_work_is_done_for_a_caller_who_stays():
    async def run():
        caller = Caller()
        found = await unless_caller_leaves(caller.request, asyncio.sleep(0.01, "found"))
        caller.leave.set()
        await asyncio.sleep(0.01)  # who leaves afterwards cancels nothing
        return found

    assert asyncio.run(run()) == "found"


def test_an_error_of_the_work_is_raised():
    async def fail():
        raise ValueError("broken")

    async def run():
        await unless_caller_leaves(Caller().request, fail())

    with pytest.raises(ValueError, match="broken"):
        asyncio.run(run())


def test_a_caller_who_leaves_cancels_the_work_and_the_request_may_go_on():
    ended = []

    async def work():
        try:
            await asyncio.sleep(10)
        finally:
            await asyncio.sleep(0.01)  # it is waited for
            ended.append("work")

    async def run():
        caller = Caller()
        asyncio.get_running_loop().call_later(0.01, caller.leave.set)
        with pytest.raises(ClientDisconnect):
            await unless_caller_leaves(caller.request, work())
        ended.append("request")
        async with asyncio.timeout(1):
            await asyncio.sleep(0.01)
        return asyncio.current_task().cancelling()

    assert asyncio.run(run()) == 0
    assert ended == ["work", "request"]


@pytest.mark.parametrize("leaves", [True, False])
def test_a_cancelled_request_stays_cancelled(leaves):
    async def run():
        caller = Caller()
        request = asyncio.ensure_future(unless_caller_leaves(caller.request, asyncio.sleep(10)))
        await asyncio.sleep(0.01)
        if leaves:
            caller.leave.set()
        request.cancel()
        await asyncio.wait((request,), timeout=1)
        return request.cancelled()

    assert asyncio.run(run())
