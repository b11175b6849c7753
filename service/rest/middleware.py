"""Give every request an id, measure its duration, and write its log line."""

import logging
from collections.abc import Collection
from time import perf_counter

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.metrics import Metrics
from service.rest.ids import new_id

log = logging.getLogger(__name__)

_PROBES = {"/healthz", "/readyz", "/metrics"}  # requested every few seconds; counted, but not logged


class RequestRecorder:
    """ASGI middleware that gives each request an id, and records its status and duration."""

    def __init__(self, app: ASGIApp, metrics: Metrics, paths: Collection[str]) -> None:
        """Wrap `app`. In the metrics, all paths outside `paths` share the label "other".

        A caller can request any path, so a label for each path would have no limit.
        """
        self._app = app
        self._metrics = metrics
        self._paths = frozenset(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection; record it if it is an HTTP request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = new_id()
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

        route = scope["path"] if scope["path"] in self._paths else "other"
        started = perf_counter()
        self._metrics.request_started()
        try:
            await self._app(scope, receive, send_and_note)
        finally:
            duration_s = perf_counter() - started
            self._metrics.request_ended(route, code, duration_s)
            if route not in _PROBES:
                facts = {"route": route, "code": code, "id": request_id, "duration_s": round(duration_s, 4)}
                log.info("request_answered", extra=facts)
