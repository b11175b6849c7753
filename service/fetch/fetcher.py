"""Fetch one image over https, within limits on addresses, bytes and time."""

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from time import perf_counter

import httpcore

from service import __version__
from service.errors import (
    DeadlineExceeded,
    FetchFailed,
    FetchRefused,
    FetchTooLarge,
    ServiceError,
    SettingsInvalid,
)
from service.fetch.addresses import Address, Lookups, Resolver, is_public, resolve
from service.fetch.links import Link, read_link
from service.fetch.pinned import PinnedBackend
from service.fetch.room import Room
from service.guard_settings import FetchSettings
from service.metrics import FetchOutcome, Metrics
from service.request import RequestContext

log = logging.getLogger(__name__)

_OK = 200
_OUTCOMES: dict[type[BaseException], FetchOutcome] = {
    FetchRefused: "refused",
    FetchTooLarge: "too-large",
    FetchFailed: "failed",
    DeadlineExceeded: "timeout",
    asyncio.CancelledError: "cancelled",
}


class Fetcher:
    """A client that fetches images from the hosts on the operator's list. Use it in the event loop only.

    For each image, the fetcher looks up the host once, checks all its addresses, and connects to one of them.
    It keeps no connection, follows no redirect and uses no proxy. From the caller's request, it sends nothing
    but the URL.
    """

    def __init__(
        self,
        settings: FetchSettings,
        metrics: Metrics,
        *,
        resolver: Resolver = resolve,
        is_allowed: Callable[[Address], bool] = is_public,
    ) -> None:
        """Prepare to fetch; `is_allowed` tells to which addresses this service may connect.

        Raises:
            SettingsInvalid: the file with CA certificates cannot be read.
        """
        self._settings = settings
        self._metrics = metrics
        self._is_allowed = is_allowed
        self._lookups = Lookups(settings.max_inflight, resolver)
        self._free = asyncio.Semaphore(settings.max_inflight)
        self._tls = ssl.create_default_context()
        try:
            if settings.ca is not None:
                self._tls.load_verify_locations(settings.ca)
        except OSError as error:  # also raised for a file without certificates
            raise SettingsInvalid(
                f"SPARSIGHT_FETCH__CA={settings.ca} cannot be read as certificates: {error}"
            ) from error

    async def fetch(self, url: str, context: RequestContext, room: Room) -> bytes:
        """Return the bytes behind a URL; `room` is the limit on the bytes of all images of the request.

        Raises:
            FetchRefused: the URL may not be fetched.
            FetchFailed: the host has no public address, does not answer in time, or answers with something
                other than a file.
            FetchTooLarge: with this file, the images of the request have too many bytes.
            DeadlineExceeded: the request's deadline passed.
        """
        started = perf_counter()
        outcome: FetchOutcome = "failed"
        try:
            link = read_link(url, self._settings.hosts)
            async with context.in_time(), self._free:
                data = await self._in_time(link, room)
            outcome = "fetched"
            return data
        except (ServiceError, asyncio.CancelledError) as error:
            outcome = _OUTCOMES.get(type(error), "failed")
            if isinstance(error.__cause__, TimeoutError | httpcore.TimeoutException):
                outcome = "timeout"
            raise
        finally:
            self._metrics.fetched(outcome, perf_counter() - started)

    async def _in_time(self, link: Link, room: Room) -> bytes:
        limit_s = self._settings.timeout_s
        try:
            async with asyncio.timeout(limit_s):
                return await self._get(link, room)
        except TimeoutError as error:
            why = f"its image was not there within {limit_s:g} s (SPARSIGHT_FETCH__TIMEOUT_S)"
            raise self._failed(link, why, error) from error

    async def _get(self, link: Link, room: Room) -> bytes:
        data = bytearray()
        try:
            addresses = await self._lookups.addresses(link.host)
            if not addresses or not all(map(self._is_allowed, addresses)):
                raise OSError(f"not all addresses are public: {', '.join(map(str, addresses))}")
        except OSError as error:
            # One sentence for both cases, so that callers do not learn whether an internal name exists.
            raise self._failed(link, "no public address was found for it", error) from error
        try:
            async with self._answer(link, addresses) as answer:
                self._check_head(link, answer, room)
                async for chunk in answer.aiter_stream():
                    room.take(len(chunk))
                    data += chunk
        except (httpcore.NetworkError, httpcore.TimeoutException) as error:
            is_tls = isinstance(error.__cause__, ssl.SSLError)
            why = "its certificate is not valid for it" if is_tls else "it cannot be reached, or hung up"
            raise self._failed(link, why, error) from error
        except (httpcore.ProtocolError, ssl.SSLError, OSError) as error:
            raise self._failed(link, "its answer is no whole HTTP answer", error) from error
        return bytes(data)

    @asynccontextmanager
    async def _answer(self, link: Link, addresses: list[Address]) -> AsyncGenerator[httpcore.Response]:
        """Send the request, and yield the answer with its body unread; close the connection at the end."""
        host = link.host.encode("ascii")
        network = PinnedBackend(addresses, self._settings.timeout_s)
        connection = httpcore.AsyncHTTPConnection(
            httpcore.Origin(b"https", host, link.port), self._tls, network_backend=network
        )
        headers = [
            (b"Host", link.place.removesuffix(":443").encode("ascii")),
            (b"User-Agent", f"sparsight/{__version__}".encode()),
            (b"Accept", b"image/*,*/*;q=0.5"),
            (b"Accept-Encoding", b"identity"),
            (b"Connection", b"close"),
        ]
        url = httpcore.URL(scheme=b"https", host=host, port=link.port, target=link.target)
        try:
            yield await connection.handle_async_request(httpcore.Request(b"GET", url, headers=headers))
        finally:
            await network.close()

    def _check_head(self, link: Link, answer: httpcore.Response, room: Room) -> None:
        if 300 <= answer.status < 400:
            why = "it answers with a redirect, which is not followed; send the URL that it leads to"
            raise self._failed(link, why)
        if answer.status != _OK:
            raise self._failed(link, f"it answers with the status {answer.status}")
        headers = {name.lower(): value for name, value in answer.headers}
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise self._failed(link, "it answers with a Content-Encoding that was not asked for")
        room.check(int(headers.get(b"content-length", 0)))

    def _failed(self, link: Link, why: str, error: BaseException | None = None) -> FetchFailed:
        """Log why a fetch failed; return the error for the caller, without details for the operator alone."""
        log.info("fetch_failed", extra={"host": link.place, "why": f"{why}: {error!r}" if error else why})
        return FetchFailed(link.place, why)
