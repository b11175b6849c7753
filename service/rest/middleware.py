"""Wrap the app: request ids, metrics and log lines, HEAD requests, CORS, and unread bodies."""

import asyncio
import logging
import math
import re
from collections.abc import Collection
from time import perf_counter

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.metrics import Metrics
from service.rest.door import Door, Patience
from service.rest.ids import new_id
from service.serving.detect import DetectService

log = logging.getLogger(__name__)

_PROBES = {"/healthz", "/readyz", "/metrics"}  # requested every few seconds; counted, but not logged
_SANE_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")  # no spaces, quotes or line breaks: it goes into the log
_REFUSED, _REFUSAL_EVERY_S = 429, 0.1  # of refusals in between, the next line says the number
_DROP_S, _SILENT_S = 30.0, 5.0  # as nginx's lingering_time and lingering_timeout
_DROP_BYTES = 1_000_000_000
_SMALL = 1_000_000  # after an early answer, the connection is kept only if the body has at most so many bytes


def wrap(app: ASGIApp, service: DetectService, paths: Collection[str]) -> ASGIApp:
    """Return `app`, wrapped in all middleware; in CORS middleware only if the settings allow origins.

    Args:
        app: the ASGI app.
        service: the service, with its settings and metrics.
        paths: the app's paths, which are labels in the metrics; all other paths share the label "other".
    """
    app, origins = Door(app, service), service.settings.cors_origins
    if origins:
        app = CORSMiddleware(
            app,
            allow_origins=origins,
            allow_methods=("GET", "HEAD", "POST"),
            allow_headers=("Content-Encoding", "X-Request-Id", "traceparent"),
            allow_private_network="*" not in origins,
            expose_headers=("X-Request-Id", "Retry-After"),
        )
    return Patience(UnreadBody(HeadAsGet(RequestRecorder(app, service.metrics, paths))))


class RequestRecorder:
    """ASGI middleware that gives each request an id, and records its status and duration."""

    def __init__(self, app: ASGIApp, metrics: Metrics, paths: Collection[str]) -> None:
        """Wrap `app`. In the metrics, all paths outside `paths` share the label "other".

        Callers can request any path, so with a label for each path, the number of labels would have no limit.
        """
        self._app = app
        self._metrics = metrics
        self._paths = frozenset(paths)
        self._refusal_logged, self._refusals_omitted = -math.inf, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection; record it if it is an HTTP request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        code = 500  # the server sends this if the app sends nothing

        async def send_and_note(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                headers["X-Content-Type-Options"] = "nosniff"
            await send(message)

        started = perf_counter()
        self._metrics.request_started()
        try:
            await self._app(scope, receive, send_and_note)
        finally:
            duration_s = perf_counter() - started
            path = getattr(scope.get("route"), "path", scope["path"])  # /models/{name}/example, for example
            route = path if path in self._paths else "other"
            self._metrics.request_ended(route, code, duration_s)
            if route not in _PROBES and (code != _REFUSED or self._logs_refusal(started)):
                facts = {"route": route, "code": code, "id": request_id, "duration_s": round(duration_s, 4)}
                if code == _REFUSED:
                    facts["omitted"], self._refusals_omitted = self._refusals_omitted, 0
                log.info("request_answered", extra=facts)

    def _logs_refusal(self, now: float) -> bool:
        """Return whether to log a refusal: under overload, the log would cost more than the refusals."""
        if now - self._refusal_logged < _REFUSAL_EVERY_S:
            self._refusals_omitted += 1
            return False
        self._refusal_logged = now
        return True


def _request_id(scope: Scope) -> str:
    """Return the id that the caller sent; a new id if the caller sent none, several or an invalid one."""
    sent = Headers(scope=scope).getlist("x-request-id")
    return sent[0] if len(sent) == 1 and _SANE_ID.fullmatch(sent[0]) else new_id()


class HeadAsGet:
    """ASGI middleware that answers a HEAD request with the status and headers of the GET request."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        await self._app({**scope, "method": "GET"}, receive, send_without_body)


class UnreadBody:
    """ASGI middleware that lets an answer reach a client that is still sending its body.

    A server that closes a connection with unread bytes resets the connection, and the client may lose the
    answer. So if the app answers before it has read the whole body, this middleware reads and drops the rest
    of the body, within limits on time and bytes.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        if headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
            await self._app(scope, receive, send)
            return
        unread, unfinished = True, False
        # The server must not take the next request for this body: it may be endless, or may never be sent.
        close = "expect" in headers or int(headers.get("content-length", _SMALL + 1)) > _SMALL

        async def receive_and_note() -> Message:
            nonlocal unread
            message = await receive()
            unread = unread and bool(message.get("more_body", False))
            return message

        async def send_but_stay(message: Message) -> None:
            nonlocal unfinished
            if unread and message["type"] == "http.response.body" and not message.get("more_body", False):
                unfinished = True  # the client has the whole answer, and the server does not close yet
                message = {**message, "more_body": True}
            if unread and close and message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        try:
            await self._app(scope, receive_and_note, send_but_stay)
        finally:
            if unfinished:
                await _drop_body(receive)
                await send({"type": "http.response.body"})


async def _drop_body(receive: Receive) -> None:
    dropped = 0
    try:
        async with asyncio.timeout(_DROP_S):
            while dropped < _DROP_BYTES:
                async with asyncio.timeout(_SILENT_S):
                    message = await receive()
                dropped += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return
    except TimeoutError:
        return
