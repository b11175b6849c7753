"""The bytes of fetched images count as in flight: first the most that may come, then those that came."""

import asyncio

import pytest
from starlette.requests import Request

from service.app import create_app
from service.errors import FetchOff, OutOfResources, Overloaded
from service.request import RequestContext
from service.rest.body import Upload
from service.rest.fetched import images_of
from service.settings import Settings


class Fetcher:
    """Gives ten bytes for every URL."""

    async def fetch(self, url, context, room):
        room.take(10)
        return b"x" * 10


async def stays():
    await asyncio.Event().wait()


def test_bytes_are_in_flight_as_long_as_they_are_used():
    app = create_app(Settings(max_body_bytes=60, max_inflight_bytes=100))
    app.state.fetcher, service = Fetcher(), app.state.service
    upload, request = Upload((), (None, None), ("a", "b")), Request({"type": "http", "app": app}, stays)

    async def run():
        async with images_of(request, upload, RequestContext.within(10)) as images:
            assert images == [b"x" * 10] * 2
            with service.admit(40):
                pass
            with pytest.raises(Overloaded), service.admit(41):
                pass

    with service.admit(1):  # as the door does
        with service.admit(39):
            asyncio.run(run())
        with service.admit(40), pytest.raises(Overloaded):
            asyncio.run(run())
        with service.admit(99):
            pass


def test_without_a_fetcher_there_are_no_urls():
    async def run():
        request = Request({"type": "http", "app": create_app(Settings())}, stays)
        async with images_of(request, Upload((), (None,), ("a",)), RequestContext.within(10)):
            raise AssertionError

    with pytest.raises(FetchOff):
        asyncio.run(run())


@pytest.mark.parametrize("lack", [MemoryError(), RuntimeError("can't start new thread")])
def test_without_memory_or_threads_that_is_the_answer(lack):
    class Short:
        async def fetch(self, url, context, room):
            raise lack

    app = create_app(Settings())
    app.state.fetcher = Short()

    async def run():
        request = Request({"type": "http", "app": app}, stays)
        async with images_of(request, Upload((), (None,), ("a",)), RequestContext.within(10)) as images:
            return images

    (image,) = asyncio.run(run())
    assert isinstance(image, OutOfResources)
