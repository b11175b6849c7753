"""Cancel the work for a request when the caller disconnects before the answer."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

T = TypeVar("T")


async def unless_caller_leaves(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Run `work` and return its result, unless the caller of the API disconnects earlier.

    Call this function only after the whole body of the request has been read, because it discards everything
    that the caller of the API still sends.

    Raises:
        ClientDisconnect: the caller of the API disconnected, so `work` was cancelled.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_until_gone(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        leaving.cancel()
        if not working.done():
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
