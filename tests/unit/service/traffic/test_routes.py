"""When a route's circuit breaker opens, its running calls move to another backend if there is one."""

import asyncio

import pytest

from service.errors import BackendUnavailable, DeadlineExceeded
from service.request import RequestContext
from tests.unit.service.traffic.route_builders import BLANK, FakeClock, ScriptedBackend, make_route


def start(route, *, movable):
    work = route.infer(route.current, BLANK, RequestContext.within(5), movable=movable)
    return asyncio.ensure_future(work)


def test_a_call_that_another_backend_can_take_over_is_ended_when_the_breaker_opens(artifact):
    backend = ScriptedBackend(None)
    route = make_route(artifact.manifest, backend=backend)

    async def open_while_waiting():
        work = start(route, movable=True)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        route.breaker.probe_failed(route.breaker.begin() + 1, "triton is silent")
        route.abandon()
        with pytest.raises(BackendUnavailable, match="triton is silent"):
            await work

    asyncio.run(open_while_waiting())
    assert backend.cancelled == 1


def test_a_call_that_has_nowhere_to_go_is_let_run(artifact):
    backend = ScriptedBackend(None)
    route = make_route(artifact.manifest, backend=backend)

    async def open_while_waiting():
        work = start(route, movable=False)
        await asyncio.sleep(0.01)
        route.abandon()
        await asyncio.sleep(0.01)
        assert not work.done()
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    asyncio.run(open_while_waiting())
    assert backend.cancelled == 1


def test_a_caller_who_leaves_cancels_the_call_and_is_no_failure(artifact):
    backend = ScriptedBackend(None)
    route = make_route(artifact.manifest, backend=backend, failures=1)

    async def leave():
        work = start(route, movable=True)
        await asyncio.sleep(0.01)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    asyncio.run(leave())
    assert (backend.cancelled, route.healthy) == (1, True)


class LateBackend(ScriptedBackend):
    """Says nothing until the deadline; somebody else may have been answered meanwhile."""

    def __init__(self, meanwhile):
        super().__init__()
        self.meanwhile = meanwhile

    async def infer(self, inputs, context):
        self.meanwhile()
        raise DeadlineExceeded(context.allowed_s, silent=True)


@pytest.mark.parametrize("answers", [True, False])
def test_a_backend_that_answers_others_meanwhile_is_slow_and_not_silent(artifact, answers):
    clock = FakeClock()

    def meanwhile():
        clock.now += 5
        if answers:
            route.breaker.succeeded(clock.now - 1)
        clock.now += 5

    route = make_route(artifact.manifest, backend=LateBackend(meanwhile), failures=1, clock=clock)

    async def ask():
        with pytest.raises(DeadlineExceeded):
            await start(route, movable=False)

    asyncio.run(ask())
    assert route.healthy is answers


@pytest.mark.parametrize(("waited_s", "healthy"), [(0.0, False), (0.3, True)])
def test_time_spent_waiting_in_our_own_queue_is_not_the_backends_silence(artifact, waited_s, healthy):
    route = make_route(artifact.manifest, backend=LateBackend(lambda: None), failures=1)

    async def ask():
        context = RequestContext.within(0.5)
        await asyncio.sleep(waited_s)
        with pytest.raises(DeadlineExceeded):
            await route.infer(route.current, BLANK, context, movable=False)

    asyncio.run(ask())
    assert route.healthy is healthy
