"""When a route's circuit breaker opens, its running calls move to another backend if there is one."""

import asyncio

import pytest

from service.errors import BackendFailed, BackendUnavailable, DeadlineExceeded, UndecodableImage
from service.request import RequestContext
from tests.unit.service.traffic.route_builders import JOB, FakeClock, ScriptedBackend, make_route


def start(route, *, movable):
    work = route.run(route.current, JOB, RequestContext.within(5), movable=movable)
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

    async def run(self, job, context):
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


def test_an_image_that_cannot_be_decoded_is_no_error_of_the_backend(artifact):
    told = []
    backend = ScriptedBackend(UndecodableImage("damaged"), BackendFailed("refused"))
    route = make_route(artifact.manifest, backend=backend, failures=1, on_error=told.append)

    async def ask():
        for error in (UndecodableImage, BackendFailed):
            with pytest.raises(error):
                await start(route, movable=False)

    asyncio.run(ask())
    assert [type(error) for error in told] == [BackendFailed]
    assert route.healthy
