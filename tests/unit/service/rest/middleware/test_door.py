"""Refused callers have their answer at once; those that come back too soon, too often, are held."""

import asyncio
from time import perf_counter

import pytest

from service.rest.images import router as images_router
from service.rest.middleware.door import IMAGE_PATHS, Patience
from service.rest.routes import detect_router, router

SCOPE = {"type": "http", "method": "POST", "path": "/detect"}


def answering(status, headers=()):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})
        await send({"type": "http.response.body", "body": b"whole answer"})

    return app


class Caller:
    """Notes when it has its whole answer, and when its connection is free again."""

    def __init__(self, app):
        self.app = app
        self.answered_s = self.free_s = None

    async def ask(self):
        began = perf_counter()

        async def send(message):
            if message.get("body"):
                self.answered_s = perf_counter() - began

        await self.app(SCOPE, None, send)
        self.free_s = perf_counter() - began


def ask(*callers):
    async def all_at_once():
        await asyncio.gather(*(caller.ask() for caller in callers))

    asyncio.run(all_at_once())


@pytest.mark.parametrize("status", [401, 403, 429])
def test_refusals_within_the_rate_are_not_held(status):
    door = Patience(answering(status), free_per_s=3, hold_s=0.2)
    callers = [Caller(door) for _ in range(4)]
    ask(*callers)
    assert [caller.free_s > 0.15 for caller in callers] == [False, False, False, True]
    assert all(caller.answered_s < 0.1 for caller in callers)


def test_the_rate_recovers():
    door = Patience(answering(429), free_per_s=20, hold_s=0.2)
    ask(*(Caller(door) for _ in range(21)))  # takes 0.2 s, in which 4 more become free
    later = [Caller(door) for _ in range(5)]
    ask(*later)
    assert [caller.free_s > 0.15 for caller in later] == [False] * 4 + [True]


def test_answers_and_closing_connections_are_never_held():
    for app in (answering(200), answering(503), answering(429, [(b"connection", b"close")])):
        caller = Caller(Patience(app, free_per_s=0, hold_s=0.2))
        ask(caller)
        assert caller.free_s < 0.1


def test_a_request_that_ends_frees_the_caller_that_was_held_last():
    statuses = iter([429, 429, 200])

    async def app(scope, receive, send):
        await answering(next(statuses))(scope, receive, send)

    async def scene():
        door = Patience(app, free_per_s=0, hold_s=0.3)
        first, second, served = Caller(door), Caller(door), Caller(door)
        held = [asyncio.ensure_future(caller.ask()) for caller in (first, second)]
        await asyncio.sleep(0.05)
        await served.ask()
        await asyncio.gather(*held)
        return first.free_s, second.free_s

    first_s, second_s = asyncio.run(scene())
    assert second_s < 0.2 < first_s


def test_the_door_stands_before_every_route_that_takes_images():
    routers = (detect_router, router, images_router)
    routes = [route for each in routers for route in each.routes if "POST" in route.methods]
    assert {route.path for route in routes} - {"/models/reload"} == IMAGE_PATHS
