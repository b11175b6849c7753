"""Fetch the images that a request names by URL."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from starlette.requests import Request

from service.errors import (
    DeadlineExceeded,
    FetchFailed,
    FetchOff,
    FetchRefused,
    FetchTooLarge,
    OutOfResources,
    ServiceError,
)
from service.fetch.room import Room
from service.request import RequestContext
from service.rest.body import Upload
from service.rest.disconnect import unless_caller_leaves
from service.rest.service_of import service_of

if TYPE_CHECKING:  # it takes 6 MB, and is imported only where images are fetched
    from service.fetch.fetcher import Fetcher


@asynccontextmanager
async def images_of(
    request: Request, upload: Upload, context: RequestContext
) -> AsyncGenerator[Sequence[bytes | ServiceError]]:
    """Yield the images of a request, in order; fetch them if the request names them by URL.

    In place of an image that could not be fetched, its error is yielded. Like the bytes of a body, the
    fetched bytes count as in flight until the end of the block. While the images are being fetched, the
    largest allowed number of bytes counts; after that, the number that arrived.

    Raises:
        FetchOff: the operator allows no host.
        FetchTooLarge: the images have too many bytes in all.
        Overloaded: too many bytes are already in flight.
        ClientDisconnect: the caller left.
    """
    if not upload.urls:
        yield upload.images
        return
    fetcher: Fetcher | None = request.app.state.fetcher
    if fetcher is None:
        raise FetchOff
    service = service_of(request)
    limit = service.settings.fetch.max_bytes or service.settings.max_body_bytes
    with service.admit_more(limit) as lower:
        work = _fetch_all(fetcher, upload.urls, context, Room(limit))
        images = await unless_caller_leaves(request, work)
        lower(sum(len(image) for image in images if isinstance(image, bytes)))
        yield images


async def _fetch_all(
    fetcher: "Fetcher", urls: Sequence[str], context: RequestContext, room: Room
) -> list[bytes | ServiceError]:
    async def one(url: str) -> bytes | ServiceError:
        try:
            return await fetcher.fetch(url, context, room)
        except (FetchRefused, FetchFailed, FetchTooLarge, DeadlineExceeded) as error:
            return error
        except (MemoryError, RuntimeError) as error:
            lack = OutOfResources.of(error)
            if lack is None:
                raise
            return lack

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(url)) for url in urls]
    images = [task.result() for task in tasks]
    for image in images:
        if isinstance(image, FetchTooLarge):  # the limit is for all images together
            raise image
    return images
