"""Send one HTTP request and read the whole answer within a deadline, without retries or redirects."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from .errors import BadParameter, ClientError, DeadlineExceeded, NotInstalled
from .tls import Tls
from .transport import Deadline

_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=64)  # None: no limit

Unreached = Callable[[str], ClientError]
"""A function that takes the reason why a server cannot be reached and returns the error to raise."""


@dataclass(frozen=True)
class Received:
    """An HTTP answer whose whole body has been read."""

    status: int
    headers: httpx.Headers
    body: bytes


class _TimeLeft(dict[str, float | None]):
    """Time limits for HTTPX that shrink while a request runs.

    A call consists of several steps: connecting, sending, waiting, and reading each piece of the answer.
    HTTPX reads the limit before each step, so each step gets the time that is left. A plain `httpx.Timeout`
    would give the whole time to every step.
    """

    def __init__(self, deadline: Deadline) -> None:
        super().__init__()
        self._deadline = deadline

    def get(self, key: str, default: object = None) -> float:
        return self._deadline.left_s()


C = TypeVar("C", httpx.Client, httpx.AsyncClient)


def opened(kind: type[C], base_url: str, tls: Tls | None, **settings: Any) -> C:
    """Return an HTTPX client of the class `kind`. The client does not connect before its first request.

    Raises:
        BadParameter: the URL, a file of `tls`, or the proxy in the environment variables cannot be used.
        NotInstalled: the environment variables name a SOCKS proxy, and the package for SOCKS is missing.
    """
    verify = True if tls is None else tls.context()
    try:
        return kind(base_url=base_url, verify=verify, limits=_LIMITS, **settings)
    except ImportError as error:
        raise NotInstalled(f"the environment variables name a SOCKS proxy: {error}") from error
    except (ValueError, httpx.InvalidURL) as error:
        raise BadParameter(
            "url", f"{base_url}, or the proxy in the environment variables, cannot be used: {error}"
        ) from error


def send(client: httpx.Client, request: httpx.Request, deadline: Deadline, unreached: Unreached) -> Received:
    """Send a request once, and return the answer with its whole body.

    Raises:
        DeadlineExceeded: the deadline passed before the whole answer had arrived.
        ClientError: the connection failed or broke; the error is the one that `unreached` returns.
    """
    request.extensions["timeout"] = _TimeLeft(deadline)
    try:
        response = client.send(request, stream=True)
        try:
            pieces = []
            for piece in response.iter_bytes():
                deadline.left_s()  # raises DeadlineExceeded if the server sends too slowly
                pieces.append(piece)
        finally:
            response.close()
    except httpx.HTTPError as error:
        raise _failure(error, deadline, unreached) from error
    return Received(response.status_code, response.headers, b"".join(pieces))


async def send_async(
    client: httpx.AsyncClient, request: httpx.Request, deadline: Deadline, unreached: Unreached
) -> Received:
    """Send a request once in an event loop, and return the answer; raise the same errors as `send`."""
    request.extensions["timeout"] = {}
    try:
        async with asyncio.timeout(deadline.left_s()):
            response = await client.send(request)
    except TimeoutError as error:
        raise DeadlineExceeded(deadline.timeout_s) from error
    except httpx.HTTPError as error:
        raise _failure(error, deadline, unreached) from error
    return Received(response.status_code, response.headers, response.content)


def _failure(error: httpx.HTTPError, deadline: Deadline, unreached: Unreached) -> ClientError:
    if isinstance(error, httpx.TimeoutException):
        return DeadlineExceeded(deadline.timeout_s)
    if isinstance(error, httpx.ConnectError):
        return unreached(str(error) or "no connection")
    return unreached("the connection broke, or the server at this address does not use HTTP")
