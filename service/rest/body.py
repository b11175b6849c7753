"""Read the images from a request body, within the limits on bytes, files and time."""

import asyncio
import zlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from starlette.requests import Request

from service.errors import (
    BodyTimeout,
    BodyTooLarge,
    EmptyImage,
    FormTooLarge,
    UndecodableImage,
    UnsupportedImage,
)
from service.rest.form import read_form
from service.rest.length import announced_bytes
from service.rest.wrapped import unwrap
from service.settings import Settings

_HEADER_BYTES = 1000
_GZIP_OR_ZLIB = 47  # zlib's name for "either, as the first bytes tell"


@dataclass(frozen=True)
class Upload:
    """The images in the body of one request, in the order sent."""

    images: tuple[bytes, ...]
    files: tuple[str | None, ...]  # for each image, the name of its file in a form; None for others
    urls: tuple[str, ...] = ()  # if the body names its images by URL, there are no bytes yet

    @property
    def several(self) -> bool:
        """Return whether there are several images; if so, the answer is a list."""
        return len(self.files) > 1


async def read_upload(request: Request, settings: Settings) -> Upload:
    """Return the images of a request.

    Each file of a form is one image. If the body is not a form, the whole body is one image.

    A body with Content-Encoding gzip or deflate is decompressed. If the body is text, the function looks for
    the image in the text; see `unwrap`.

    Raises:
        BodyTooLarge: Content-Length, or the number of bytes received or unpacked, exceeds the limit.
        BodyTimeout: the body did not arrive in time.
        EmptyImage: the body is empty, or the form has no file.
        FormTooLarge: the form has too many files or fields, a very large field, or a very long file name; or
            JSON names too many URLs.
        MalformedForm: the form cannot be read.
        InvalidParameter: the form has a field that is not a file.
        UnsupportedImage: Content-Encoding is neither gzip nor deflate, or the body is text without an image.
        UndecodableImage: the compressed body is damaged, or the base64 text of the image is damaged.
    """
    limit = settings.max_body_bytes
    if (announced_bytes(request.headers) or 0) > limit:
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
    # A thread only for text, which takes long to decode. Every image file has a zero byte near its begin.
    image = unwrap(body) if b"\0" in body[:_HEADER_BYTES] else await asyncio.to_thread(unwrap, body)
    if isinstance(image, bytes):
        return Upload((image,), (None,))
    if len(image.texts) > settings.max_files:
        raise FormTooLarge(
            f"there are {len(image.texts)} URLs, and at most {settings.max_files} (SPARSIGHT_MAX_FILES) are"
            " fetched for one request; send several"
        )
    return Upload((), (None,) * len(image.texts), image.texts)


async def _limited(request: Request, limit: int) -> AsyncGenerator[bytes]:
    encoding = request.headers.get("content-encoding", "").strip().lower() or "identity"
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
