"""Read the images from a request body, within the limits on bytes, files and time."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from starlette.requests import Request

from service.errors import BodyTimeout, BodyTooLarge, EmptyImage
from service.rest.form import read_form
from service.settings import Settings


@dataclass(frozen=True)
class Upload:
    """The images of one request."""

    images: tuple[bytes, ...]
    files: tuple[str | None, ...]  # for each image, the name of its file in a form; None for a raw body

    @property
    def several(self) -> bool:
        """Return whether there are several images, so that the answer is a list."""
        return len(self.images) > 1


async def read_upload(request: Request, settings: Settings) -> Upload:
    """Return the images of a request: one image per file of a form, or else the raw body as one image.

    Raises:
        BodyTooLarge: Content-Length, or the number of bytes received, exceeds the limit.
        BodyTimeout: the body did not arrive in time.
        EmptyImage: the body is empty, or the form has no file.
        FormTooLarge: the form has more files than the limit, other fields, or a very long file name.
        MalformedForm: the form cannot be read.
        InvalidParameter: the form has a field that is not a file.
    """
    limit = settings.max_body_bytes
    if int(request.headers.get("content-length", 0)) > limit:
        raise BodyTooLarge(limit)
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        async with asyncio.timeout(settings.body_timeout_s):
            if content_type == "multipart/form-data":
                stream = _limited(request, limit)
                files = await read_form(request.headers, stream, settings)
                return Upload(tuple(data for _, data in files), tuple(name for name, _ in files))
            body = b"".join([chunk async for chunk in _limited(request, limit)])
    except TimeoutError as error:
        raise BodyTimeout(settings.body_timeout_s) from error
    if not body:
        raise EmptyImage
    return Upload((body,), (None,))


async def _limited(request: Request, limit: int) -> AsyncGenerator[bytes]:
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > limit:
            raise BodyTooLarge(limit)
        yield chunk
