"""Wrap the app in its middleware; this file also defines the middleware for HEAD and for unread bodies."""

import asyncio
from collections.abc import Callable, Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access.gate import Gate
from service.rest.length import announced_bytes
from service.rest.middleware.access import AccessCheck
from service.rest.middleware.door import Door, Patience
from service.rest.middleware.doorstep import Doorstep
from service.rest.middleware.ports import Ports
from service.rest.middleware.recorder import RequestRecorder
from service.rest.middleware.security import SecurityHeaders
from service.serving.detect import DetectService
from service.timeline import Tracer

DROP_S, SILENT_S = 30.0, 5.0  # as nginx's lingering_time and lingering_timeout
_DROP_BYTES = 1_000_000_000
OPEN_HEADERS = ("Content-Encoding", "X-Request-Id", "traceparent", "tracestate")
KEY_HEADERS = ("Authorization", "X-Api-Key")
SMALL = 1_000_000  # after an early answer, the connection is kept only if the body has at most so many bytes


def wrap(
    app: ASGIApp,
    service: DetectService,
    gate: Gate,
    paths: Collection[str],
    security: SecurityHeaders,
    not_found: Callable[[Request], Response],
    *,
    tracer: Tracer | None = None,
) -> tuple[ASGIApp, Doorstep]:
    """Return `app` wrapped in all middleware, and the server's early check of requests (the doorstep).

    Args:
        app: the ASGI app.
        service: the service, with its settings and metrics.
        gate: decides who may use which path.
        paths: the app's paths, which are labels in the metrics; all other paths share the label "other".
        security: headers that every answer gets.
        not_found: makes the answer for a path that does not exist.
        tracer: makes spans of the requests; None if tracing is off.
    """
    door, origins = Door(app, service), service.settings.cors_origins
    two_ports = service.settings.admin_port is not None
    app = Ports(door, not_found) if two_ports else door
    if gate.is_on:
        app = AccessCheck(app, gate, service.metrics, two_ports=two_ports)
    if origins:  # outside of the check: a browser asks for permission before it sends a key
        app = CORSMiddleware(
            app,
            allow_origins=origins,
            allow_methods=("GET", "HEAD", "POST"),
            allow_headers=(*OPEN_HEADERS, *(KEY_HEADERS * gate.is_on)),
            allow_private_network="*" not in origins,
            expose_headers=("X-Request-Id", "Retry-After", *(("traceparent",) * (tracer is not None))),
        )
    recorder = RequestRecorder(app, service.metrics, paths, security, tracer)
    patience = Patience(UnreadBody(HeadAsGet(recorder)))
    return patience, Doorstep(door, gate, recorder, patience, SMALL)


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
        announced = announced_bytes(headers)
        if not announced and "transfer-encoding" not in headers:
            await self._app(scope, receive, send)
            return
        unread, unfinished = True, False
        # The server must not take the next request for this body: it may be endless, or may never be sent.
        close = "expect" in headers or announced is None or announced > SMALL

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
        async with asyncio.timeout(DROP_S):
            while dropped < _DROP_BYTES:
                async with asyncio.timeout(SILENT_S):
                    message = await receive()
                dropped += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return
    except TimeoutError:
        return
