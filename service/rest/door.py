"""Refuse images at the door: before FastAPI and before the body is read, at next to no cost.

A refusal costs a request's header and a short answer. Callers that ignore `Retry-After` and ask again at once
could still keep a core busy; so when refusals become very frequent, their connections are held for a while.
"""

import asyncio
from contextlib import ExitStack
from time import perf_counter
from typing import get_args
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import Overloaded, slug_of
from service.request import DetectParams, Priority
from service.rest.problems import MEDIA_TYPE, to_problem
from service.serving.detect import DetectService

_DETECT_PATHS = {"/detect", "/v1/detect", "/detect/batch", "/v1/detect/batch"}
_IMAGE_PATHS = {*_DETECT_PATHS, "/preview"}
_TOO_MANY = 429
_PRIORITIES: tuple[Priority, ...] = get_args(Priority)


class Door:
    """ASGI middleware that admits requests with images, or refuses them with a 429."""

    def __init__(self, app: ASGIApp, service: DetectService) -> None:
        """Wrap `app`; the service knows how much is in flight."""
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] not in _IMAGE_PATHS:
            await self._app(scope, receive, send)
            return
        with ExitStack() as admitted:
            try:
                size_bytes = self._size_bytes(scope)
                admitted.enter_context(self._service.admit(size_bytes))
                if scope["path"] in _DETECT_PATHS:
                    self._check_wait(scope, size_bytes)
            except Overloaded as error:
                admitted.close()
                await self._refuse(error, scope["state"]["request_id"], send)
                return
            await self._app(scope, receive, send)

    def _size_bytes(self, scope: Scope) -> int:
        largest = self._service.settings.max_body_bytes
        announced = Headers(scope=scope).get("content-length")
        return largest if announced is None else min(int(announced), largest)

    def _check_wait(self, scope: Scope, size_bytes: int) -> None:
        # Wrong values are refused later, with a sentence about them.
        asked = {
            name: values[0] for name, values in parse_qs(scope["query_string"].decode("latin-1")).items()
        }
        priority: Priority = next((one for one in _PRIORITIES if one == asked.get("priority")), "normal")
        timeout_ms = asked.get("timeout_ms", "")
        self._service.check_wait(
            DetectParams(
                model=asked.get("model"),
                backend=asked.get("backend", "auto"),
                version=asked.get("version"),
            ),
            size_bytes,
            priority,
            int(timeout_ms) / 1000 if timeout_ms.isascii() and timeout_ms.isdigit() else None,
        )

    async def _refuse(self, error: Overloaded, request_id: str, send: Send) -> None:
        self._service.metrics.rejected(slug_of(Overloaded))
        body = to_problem(error, request_id).model_dump_json(exclude_unset=True).encode()
        headers = [
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"retry-after", str(error.retry_after_s).encode()),
        ]
        await send({"type": "http.response.start", "status": _TOO_MANY, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class Patience:
    """ASGI middleware that holds the connection of a refused caller, once refusals are very frequent.

    The caller has its whole answer at once. But its next request on the same connection is taken only when
    another request has ended, or after the second that `Retry-After` asked for. So callers that do not wait
    cannot use up the processor with refusals.
    """

    def __init__(self, app: ASGIApp, free_per_s: float = 500.0, hold_s: float = 1.0) -> None:
        """Wrap `app`; refusals up to `free_per_s` per second are not held, others for up to `hold_s`."""
        self._app = app
        self._free_per_s = free_per_s
        self._hold_s = hold_s
        self._free, self._counted = free_per_s, perf_counter()
        self._held: dict[asyncio.Future[None], None] = {}  # as a set, in the order in which they came

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refused = closes = False

        async def send_and_hold(message: Message) -> None:
            nonlocal refused, closes
            if message["type"] == "http.response.start":
                refused = message["status"] == _TOO_MANY
                closes = refused and Headers(raw=message["headers"]).get("connection") == "close"
            elif refused and not closes and not message.get("more_body", False) and self._is_too_frequent():
                await send({**message, "more_body": True})  # the client has the whole answer
                await self._hold()
                message = {"type": "http.response.body"}
            await send(message)

        await self._app(scope, receive, send_and_hold)
        if not refused:
            self._let_one_go()

    def _is_too_frequent(self) -> bool:
        now = perf_counter()
        self._free = min(self._free_per_s, self._free + (now - self._counted) * self._free_per_s)
        self._counted = now
        if self._free < 1:
            return True
        self._free -= 1
        return False

    async def _hold(self) -> None:
        held = asyncio.get_running_loop().create_future()
        self._held[held] = None
        await asyncio.wait((held,), timeout=self._hold_s)
        self._held.pop(held, None)

    def _let_one_go(self) -> None:
        if self._held:
            # The last one first: its caller still waits for the answer, where others may have given up.
            last, _ = self._held.popitem()
            last.set_result(None)
