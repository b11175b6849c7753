"""Read the images from a request body, within the limits on bytes, files and time."""

import asyncio
import zlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from service.errors import (
    BodyTimeout,
    BodyTooLarge,
    EmptyImage,
    InvalidParameter,
    MalformedForm,
    UndecodableImage,
    UnsupportedImage,
)
from service.rest.wrapped import unwrap
from service.settings import Settings

_GZIP_OR_ZLIB = 47  # zlib's name for "either, as the first bytes tell"


@dataclass(frozen=True)
class Upload:
    """The images of one request."""

    images: tuple[bytes, ...]
    several: bool  # the request is a form with more than one file, so the answer is a list


async def read_upload(request: Request, settings: Settings) -> Upload:
    """Return the images of a request: one image per file of a form, or else the body as one image.

    A body with Content-Encoding gzip is unpacked. A body that is text is searched for an image; see unwrap.

    Raises:
        BodyTooLarge: Content-Length, or the number of bytes received or unpacked, exceeds the limit.
        BodyTimeout: the body did not arrive in time.
        EmptyImage: the body is empty, or the form has no file.
        MalformedForm: the form cannot be read.
        InvalidParameter: the form has a field that is not a file.
        UnsupportedImage: Content-Encoding is not gzip, or the body is text without an image.
        UndecodableImage: what was packed with gzip or written in base64 is damaged.
    """
    limit = settings.max_body_bytes
    if int(request.headers.get("content-length", 0)) > limit:
        raise BodyTooLarge(limit)
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        async with asyncio.timeout(settings.body_timeout_s):
            if content_type == "multipart/form-data":
                return await _read_form(request, settings)
            body = b"".join([chunk async for chunk in _limited(request, limit)])
    except TimeoutError as error:
        raise BodyTimeout(settings.body_timeout_s) from error
    if not body:
        raise EmptyImage
    return Upload((await asyncio.to_thread(unwrap, body),), several=False)


async def _limited(request: Request, limit: int) -> AsyncGenerator[bytes]:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip", "deflate"):
        sentence = (
            f"Content-Encoding {encoding[:40]!r} is not unpacked here; send the file as it is, or with gzip"
        )
        raise UnsupportedImage(sentence)
    received = unpacked = 0
    inflate = None if encoding == "identity" else zlib.decompressobj(_GZIP_OR_ZLIB)
    async for sent in request.stream():
        received += len(sent)
        chunk = sent
        if inflate:
            try:
                chunk = inflate.decompress(sent, limit + 1 - unpacked)
            except zlib.error as error:
                raise _damaged(encoding) from error
        unpacked += len(chunk)
        if max(received, unpacked) > limit:
            raise BodyTooLarge(limit)
        yield chunk
    if inflate and received and (not inflate.eof or inflate.unused_data):
        raise _damaged(encoding)


def _damaged(encoding: str) -> UndecodableImage:
    return UndecodableImage(
        f"the body is not whole {encoding} data, as its Content-Encoding says; send it again"
    )


async def _read_form(request: Request, settings: Settings) -> Upload:
    parser = MultiPartParser(
        request.headers,
        _limited(request, settings.max_body_bytes),
        max_files=settings.max_files,
        max_fields=8,  # no field is allowed; the parser accepts a few so that the error can name one
    )
    parser.spool_max_size = settings.max_body_bytes + 1  # keeps files in memory: the disk may be read-only
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise MalformedForm(f"the form cannot be read: {error.message}") from error
    try:
        return await _files(form)
    finally:
        await form.close()


async def _files(form: FormData) -> Upload:
    images = []
    for name, value in form.multi_items():
        if not isinstance(value, UploadFile):
            sentence = f"form field {name[:40]!r} is not a file; parameters go into the URL, as in ?conf=0.5"
            raise InvalidParameter(name[:40], sentence)
        images.append(await value.read())
    if not images:
        raise EmptyImage
    return Upload(tuple(images), several=len(images) > 1)
