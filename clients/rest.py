"""Call the service over HTTP."""

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import cv2
import httpx
import numpy as np
from numpy.typing import NDArray

from .errors import BadImage, BadParameter, ClientError, Unreachable, UnreadableAnswer
from .exchange import Received, opened, send, send_async
from .facts import Facts
from .image import as_pixels
from .rest_problems import document, to_error
from .tasks import AsyncCalls, Calls
from .tensors import Params
from .tls import Tls
from .transport import Deadline

_LONGEST_MS = 600_000  # largest timeout_ms that the service accepts

R = TypeVar("R")


class RestClient(Calls):
    """A client for the models of one service. Threads may share it. It never retries a request.

    An array of pixels is sent as PNG.

    Args:
        url: URL of the service, with http:// or https://; if a proxy serves it under a path, add the path.
        model: name of the model; None for the service's default model.
        backend: backend that runs the model, for example triton; None lets the service choose.
        version: version of the model; None for the highest version that is ready.
        timeout_s: time limit for a whole call, in seconds; the client also sends the limit to the service.
        tls: certificates for https; None to trust the certificates that the system trusts.
        api_key: key that the service asks for; None if it asks for none.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        backend: str | None = None,
        version: str | None = None,
        timeout_s: float = 10.0,
        tls: Tls | None = None,
        api_key: str | None = None,
    ) -> None:
        self._call = _Call(url, timeout_s, {"model": model, "backend": backend, "version": version}, api_key)
        self._client = opened(httpx.Client, self._call.url, tls)

    def close(self) -> None:
        """Close the connections; a later call raises ClientError."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, image: bytes | NDArray[Any], params: Params[R]) -> R:
        deadline = self._call.start(closed=self._client.is_closed)
        body = _body(image)
        request = self._client.build_request("POST", "detect", **self._call.request(params, body, deadline))
        return self._call.read(params, send(self._client, request, deadline, self._call.unreached), deadline)


class AsyncRestClient(AsyncCalls):
    """A client for the models of one service, like RestClient, but with asyncio.

    Args:
        url: URL of the service, with http:// or https://; if a proxy serves it under a path, add the path.
        model: name of the model; None for the service's default model.
        backend: backend that runs the model, for example triton; None lets the service choose.
        version: version of the model; None for the highest version that is ready.
        timeout_s: time limit for a whole call, in seconds; the client also sends the limit to the service.
        tls: certificates for https; None to trust the certificates that the system trusts.
        api_key: key that the service asks for; None if it asks for none.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        backend: str | None = None,
        version: str | None = None,
        timeout_s: float = 10.0,
        tls: Tls | None = None,
        api_key: str | None = None,
    ) -> None:
        self._call = _Call(url, timeout_s, {"model": model, "backend": backend, "version": version}, api_key)
        self._client = opened(httpx.AsyncClient, self._call.url, tls)

    async def close(self) -> None:
        """Close the connections; a later call raises ClientError."""
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, image: bytes | NDArray[Any], params: Params[R]) -> R:
        deadline = self._call.start(closed=self._client.is_closed)
        body = await asyncio.to_thread(_body, image)
        request = self._client.build_request("POST", "detect", **self._call.request(params, body, deadline))
        answer = await send_async(self._client, request, deadline, self._call.unreached)
        return self._call.read(params, answer, deadline)


class _Call:
    """The code that RestClient and AsyncRestClient share, which builds requests and reads answers."""

    def __init__(
        self, url: str, timeout_s: float, query: Mapping[str, str | None], api_key: str | None
    ) -> None:
        self.url = _checked(url)
        self._headers = {"Content-Type": "application/octet-stream", **_key_header(api_key)}
        self._timeout_s = timeout_s
        self._query = {name: value for name, value in query.items() if value is not None}

    def start(self, *, closed: bool) -> Deadline:
        """Return the deadline of a call that begins now; raise ClientError if the client is closed."""
        if closed:
            raise ClientError("this client is closed; create a new one")
        return Deadline(self._timeout_s)

    def request(self, params: Params[Any], body: bytes, deadline: Deadline) -> dict[str, Any]:
        """Return a request's query, body and headers.

        The query parameter timeout_ms states the time that is left until the deadline. The service measures
        this time from the moment when it has received the whole body.
        """
        left_ms = min(_LONGEST_MS, max(1, round(deadline.left_s() * 1e3)))
        return {
            "params": {**self._query, **params.query(), "moe": "full", "timeout_ms": left_ms},
            "content": body,
            "headers": self._headers,
        }

    def read(self, params: Params[R], answer: Received, deadline: Deadline) -> R:
        """Return the result in the answer; raise the matching ClientError if the HTTP status is an error."""
        if answer.status != httpx.codes.OK:
            raise to_error(answer, self.url, deadline.timeout_s)
        facts = document(answer, self.url)
        try:
            return params.read(Facts(facts))
        except ValueError as error:
            raise UnreadableAnswer(self.url, str(error)) from error

    def unreached(self, reason: str) -> Unreachable:
        """Return the error to raise if the service cannot be reached, with the reason in its message."""
        check = "check that it runs, and the URL's port and scheme"
        if "CERTIFICATE_VERIFY_FAILED" in reason:
            check = "give the CA of its certificate (in Python: tls=Tls(ca_file=…); in a shell: --ca)"
        return Unreachable(f"cannot reach the service at {self.url}: {reason}; {check}")


def _checked(url: str) -> str:
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        parts = httpx.URL("")
    if (
        parts.scheme not in ("http", "https")
        or not parts.host
        or parts.port == 0
        or parts.query
        or parts.fragment
    ):
        sentence = f"url={url!r} cannot be used; write http://host:port or https://host"
        raise BadParameter("url", sentence)
    return url.rstrip("/")


def _key_header(api_key: str | None) -> dict[str, str]:
    if api_key is None:
        return {}
    key = api_key.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        # The message does not show the key, because messages are logged.
        raise BadParameter(
            "api_key",
            "api_key cannot be used: it is empty, or has spaces or other characters that no key has;"
            " give the key alone, without 'Bearer'",
        )
    return {"Authorization": f"Bearer {key}"}


def _body(image: bytes | NDArray[Any]) -> bytes:
    """Return the body of a request: an image file's bytes unchanged, or an array of pixels encoded as PNG."""
    if isinstance(image, bytes | bytearray | memoryview):
        if not image:
            raise BadImage("there are no image bytes; give the whole file")
        return bytes(image)
    pixels = as_pixels(image)
    encoded, buffer = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    if not encoded:
        raise BadImage(f"pixels of shape {pixels.shape} cannot be written as PNG; give a file's bytes")
    return np.asarray(buffer).tobytes()
