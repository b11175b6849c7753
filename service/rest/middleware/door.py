"""Refuse requests with images under overload, before FastAPI runs and before the body is read.

For a refusal, the service only reads the head of the request and writes a short answer. Callers that ignore
`Retry-After` and ask again at once could still keep a core busy. So when refusals become very frequent, the
service holds the connections of refused callers for a while. If the server supports it, doorstep.py refuses
the same requests at still less cost.
"""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from time import perf_counter
from typing import get_args
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import Overloaded
from service.request import DetectParams, Priority
from service.rest.length import announced_bytes
from service.rest.middleware.refusal import REFUSALS, RawHeaders, Refusal
from service.serving.detect import DetectService
from service.timeline import note_error

_DETECT_PATHS = {"/detect", "/v1/detect", "/detect/batch", "/v1/detect/batch"}
IMAGE_PATHS = {*_DETECT_PATHS, "/preview"}
TOO_MANY = 429
_LONGEST_TIMEOUT = len("600000")  # digits; with thousands, it would be no number for Python

_PRIORITIES: tuple[Priority, ...] = get_args(Priority)


class Door:
    """ASGI middleware that admits a request with images, or refuses it with a 429."""

    def __init__(self, app: ASGIApp, service: DetectService) -> None:
        """Wrap `app`; the service knows how much is in flight."""
        self._app = app
        self._service = service
        self._refusal = Refusal(Overloaded)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] not in IMAGE_PATHS:
            await self._app(scope, receive, send)
            return
        sent = Headers(scope=scope)
        # However small a compressed body is, it may unpack to the largest allowed size.
        announced = None if "content-encoding" in sent else announced_bytes(sent)
        with ExitStack() as admitted:
            try:
                admitted.enter_context(self.admit(scope["path"], scope["query_string"], announced))
            except Overloaded as error:
                note_error(scope["state"], error)
                headers, body = self.refuse(error, scope["state"]["request_id"])
                await send({"type": "http.response.start", "status": TOO_MANY, "headers": headers})
                await send({"type": "http.response.body", "body": body})
                return
            await self._app(scope, receive, send)

    @contextmanager
    def admit(self, path: str, query: bytes, announced_bytes: int | None) -> Iterator[None]:
        """Count a request as in flight during the block.

        `announced_bytes` is the size of the body; None if the request does not announce it.

        Raises:
            Overloaded: the request must be refused.
        """
        largest = self._service.settings.max_body_bytes
        size_bytes = largest if announced_bytes is None else min(announced_bytes, largest)
        with self._service.admit(size_bytes):
            if path in _DETECT_PATHS:
                self._check_wait(query, size_bytes)
            yield

    def _check_wait(self, query: bytes, size_bytes: int) -> None:
        # Wrong values are refused later, with a sentence about them.
        asked = {name: values[0] for name, values in parse_qs(query.decode("latin-1")).items()}
        priority: Priority = next((one for one in _PRIORITIES if one == asked.get("priority")), "normal")
        timeout_ms = asked.get("timeout_ms", "")
        is_sane = timeout_ms.isascii() and timeout_ms.isdigit() and len(timeout_ms) <= _LONGEST_TIMEOUT
        self._service.check_wait(
            DetectParams(
                model=asked.get("model"),
                backend=asked.get("backend", "auto"),
                version=asked.get("version"),
            ),
            size_bytes,
            priority,
            int(timeout_ms) / 1000 if is_sane else None,
        )

    def refuse(self, error: Overloaded, request_id: str) -> tuple[RawHeaders, bytes]:
        """Count a refusal; return the headers that only this answer needs, and its body."""
        self._service.metrics.rejected(self._refusal.slug)
        return self._refusal.answer(error, request_id)


class Patience:
    """ASGI middleware that holds the connections of refused callers while refusals are very frequent.

    The caller gets its whole answer at once. But the service takes the next request on this connection only
    when another request has ended, or after `hold_s` seconds. So callers that do not wait as `Retry-After`
    asks cannot use up the processor with refusals.
    """

    def __init__(self, app: ASGIApp, free_per_s: float = 2000.0, hold_s: float = 1.0) -> None:
        """Wrap `app`; hold a connection for up to `hold_s` seconds beyond `free_per_s` refusals a second."""
        self._app = app
        self._free_per_s = free_per_s
        self._hold_s = hold_s
        self._free, self._counted = free_per_s, perf_counter()
        self._held: dict[asyncio.Future[None], None] = {}  # used as a set in the order of arrival

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refused = closes = False

        async def send_and_hold(message: Message) -> None:
            nonlocal refused, closes
            if message["type"] == "http.response.start":
                refused = message["status"] in REFUSALS
                closes = refused and Headers(raw=message["headers"]).get("connection") == "close"
            elif refused and not closes and not message.get("more_body", False) and self.is_exhausted():
                await send({**message, "more_body": True})  # the client has the whole answer
                await self.hold()
                message = {"type": "http.response.body"}
            await send(message)

        await self._app(scope, receive, send_and_hold)
        if not refused:
            self._let_one_go()

    def is_exhausted(self) -> bool:
        """Count a refusal; return whether refusals are so frequent that its connection must be held."""
        now = perf_counter()
        self._free = min(self._free_per_s, self._free + (now - self._counted) * self._free_per_s)
        self._counted = now
        if self._free < 1:
            return True
        self._free -= 1
        return False

    def hold(self) -> asyncio.Future[None]:
        """Return a future that is done when the service may take the next request of a refused caller."""
        loop = asyncio.get_running_loop()
        held = loop.create_future()
        self._held[held] = None
        timer = loop.call_later(self._hold_s, _let_go, held)

        def forget(_: asyncio.Future[None]) -> None:
            timer.cancel()
            self._held.pop(held, None)

        held.add_done_callback(forget)
        return held

    def _let_one_go(self) -> None:
        if self._held:
            # The last one first: its caller still waits for the answer, where others may have given up.
            last, _ = self._held.popitem()
            _let_go(last)


def _let_go(held: asyncio.Future[None]) -> None:
    if not held.done():
        held.set_result(None)
