"""Give each request an id, and record its status and duration in the metrics and the log."""

import asyncio
import logging
import math
import re
from collections.abc import Collection
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.metrics import Metrics
from service.rest.ids import new_id
from service.rest.middleware.refusal import REFUSALS, RawHeaders
from service.rest.middleware.security import SecurityHeaders

log = logging.getLogger(__name__)

_PROBES = {"/healthz", "/readyz", "/metrics"}  # requested every few seconds; counted, but not logged
_SANE_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")  # no spaces, quotes or line breaks: it goes into the log
_REFUSAL_EVERY_S = 0.1  # the next line says how many refusals were left out in between


class RequestRecorder:
    """ASGI middleware that gives each request an id, and records its status and duration."""

    def __init__(
        self, app: ASGIApp, metrics: Metrics, paths: Collection[str], security: SecurityHeaders
    ) -> None:
        """Wrap `app`; its answers get the headers of `security`.

        In the metrics, all paths outside `paths` share the label "other". Callers can request any path, so
        the number of labels would have no limit if each path had a label.
        """
        self._app = app
        self._metrics = metrics
        self._paths = frozenset(paths)
        self._security = security
        self._refusal_logged, self._refusals_omitted = -math.inf, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection; record it if it is an HTTP request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_id_of(scope["headers"])
        scope.setdefault("state", {})["request_id"] = request_id
        code, begun = 500, False  # the server sends a 500 if the app sends nothing

        async def send_and_note(message: Message) -> None:
            nonlocal code, begun
            if message["type"] == "http.response.start":
                code, begun = message["status"], True
                own = message.get("headers", ())
                message["headers"] = [*own, *self.headers_besides(own, request_id)]
            await send(message)

        started = perf_counter()
        self.begin()
        try:
            await self._app(scope, receive, send_and_note)
        except asyncio.CancelledError:
            code = code if begun else 503  # the server answers 503 to a request that it must give up
            raise
        finally:
            route = scope.get("route")
            path: str = scope["path"] if route is None else route.path  # /models/{name}/example, for example
            # The key, if access.py has found one.
            self.record(path, code, request_id, started, scope["state"].get("key"))

    def headers_besides(self, own: RawHeaders, request_id: str) -> RawHeaders:
        """Return the headers to add to an answer with the headers `own`: request id and security headers."""
        return [(b"x-request-id", request_id.encode()), *self._security.besides(own)]

    def begin(self) -> None:
        """Count a request as in flight, until it is recorded."""
        self._metrics.request_started()

    def record(
        self, path: str, code: int, request_id: str, started: float, key: tuple[str, str] | None = None
    ) -> None:
        """Count and log an answered request.

        Args:
            path: path of the request.
            code: status of the answer.
            request_id: id of the request.
            started: time of `perf_counter` when the request began.
            key: name and id of the key with which the request was sent, if the path needs a key.
        """
        duration_s = perf_counter() - started
        route = path if path in self._paths else "other"
        self._metrics.request_ended(route, code, duration_s)
        if key is not None:
            self._metrics.caller_answered(key[0])
        if route not in _PROBES and (code not in REFUSALS or self._logs_refusal(started)):
            facts = {"route": route, "code": code, "id": request_id, "duration_s": round(duration_s, 4)}
            if key is not None:
                facts["key"], facts["key_id"] = key
            if code in REFUSALS:
                facts["omitted"], self._refusals_omitted = self._refusals_omitted, 0
            log.info("request_answered", extra=facts)

    def _logs_refusal(self, now: float) -> bool:
        """Return whether to log a refusal; under overload, logging all would cost more than refusing."""
        if now - self._refusal_logged < _REFUSAL_EVERY_S:
            self._refusals_omitted += 1
            return False
        self._refusal_logged = now
        return True


def request_id_of(headers: RawHeaders) -> str:
    """Return the id that the caller sent; a new id if the caller sent none, several or an invalid one."""
    sent = [value.decode("latin-1") for name, value in headers if name == b"x-request-id"]
    return sent[0] if len(sent) == 1 and _SANE_ID.fullmatch(sent[0]) else new_id()
