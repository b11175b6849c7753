"""One HTTP request and its whole answer, within a deadline; sent once, and no redirect is followed."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from .errors import BadParameter, ClientError, DeadlineExceeded, NotInstalled
from .tls import Tls
from .transport import Deadline

_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=64)  # more threads open their own

Unreached = Callable[[str], ClientError]
"""Makes the error for a server to which there is no connection, from the reason."""


@dataclass(frozen=True)
class Received:
    """An answer, read to its end."""

    status: int
    headers: httpx.Headers
    body: bytes


class _TimeLeft(dict[str, float | None]):
    """Time limits as HTTPX hands them down: asked for before each step, so each gets what is left by then.

    A plain `httpx.Timeout` gives every step the whole time: connecting, sending, waiting, each piece read.
    """

    def __init__(self, deadline: Deadline) -> None:
        super().__init__()
        self._deadline = deadline

    def get(self, key: str, default: object = None) -> float:
        return self._deadline.left_s()


C = TypeVar("C", httpx.Client, httpx.AsyncClient)


def opened(kind: type[C], base_url: str, tls: Tls | None, **settings: Any) -> C:
    """Return a client of HTTPX; nothing is connected yet.

    Raises:
        BadParameter: the URL or a file of `tls` cannot be used, or the environment's proxy.
        NotInstalled: the environment's proxy speaks SOCKS, for which a package is missing.
    """
    verify = True if tls is None else tls.context()
    try:
        return kind(base_url=base_url, verify=verify, limits=_LIMITS, **settings)
    except ImportError as error:
        raise NotInstalled(f"the environment names a SOCKS proxy: {error}") from error
    except (ValueError, httpx.InvalidURL) as error:
        raise BadParameter(
            "url", f"{base_url}, or the environment's proxy, cannot be used: {error}"
        ) from error


def send(client: httpx.Client, request: httpx.Request, deadline: Deadline, unreached: Unreached) -> Received:
    """Send, and read the answer to its end.

    Raises:
        DeadlineExceeded: it took too long.
        ClientError: the one of `unreached`, for every other failure on the way.
    """
    request.extensions["timeout"] = _TimeLeft(deadline)
    try:
        response = client.send(request, stream=True)
        try:
            pieces = []
            for piece in response.iter_bytes():
                deadline.left_s()  # a server that sends a little at a time is left as well
                pieces.append(piece)
        finally:
            response.close()
    except httpx.HTTPError as error:
        raise _failure(error, deadline, unreached) from error
    return Received(response.status_code, response.headers, b"".join(pieces))


async def send_async(
    client: httpx.AsyncClient, request: httpx.Request, deadline: Deadline, unreached: Unreached
) -> Received:
    """Do the same in an event loop."""
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
    return unreached("the connection broke, or something else than HTTP is spoken there")
