"""Calls under way leave a lane when its breaker opens, if another backend can take them over."""

import asyncio

import pytest

from service.backends.protocol import Call
from service.errors import BackendUnavailable
from tests.unit.service.traffic.lane_builders import BLANK, ScriptedBackend, make_lane


def start(lane, *, movable):
    work = lane.infer(lane.current, BLANK, Call.within(5), movable=movable)
    return asyncio.ensure_future(work)


def test_a_call_that_another_backend_can_take_over_is_ended_when_the_breaker_opens(artifact):
    backend = ScriptedBackend(None)
    lane = make_lane(artifact.manifest, backend=backend)

    async def open_while_waiting():
        work = start(lane, movable=True)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        lane.breaker.probe_failed(lane.breaker.begin() + 1, "triton is silent")
        lane.abandon()
        with pytest.raises(BackendUnavailable, match="triton is silent"):
            await work

    asyncio.run(open_while_waiting())
    assert backend.cancelled == 1


def test_a_call_that_has_nowhere_to_go_is_let_run(artifact):
    backend = ScriptedBackend(None)
    lane = make_lane(artifact.manifest, backend=backend)

    async def open_while_waiting():
        work = start(lane, movable=False)
        await asyncio.sleep(0.01)
        lane.abandon()
        await asyncio.sleep(0.01)
        assert not work.done()
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    asyncio.run(open_while_waiting())
    assert backend.cancelled == 1


def test_a_caller_who_leaves_cancels_the_call_and_is_no_failure(artifact):
    backend = ScriptedBackend(None)
    lane = make_lane(artifact.manifest, backend=backend, failures=1)

    async def leave():
        work = start(lane, movable=True)
        await asyncio.sleep(0.01)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    asyncio.run(leave())
    assert (backend.cancelled, lane.healthy) == (1, True)
