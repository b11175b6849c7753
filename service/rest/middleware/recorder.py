"""Give each request an id, and record its status and duration in the metrics and the log."""

import asyncio
import logging
import math
import re
from collections.abc import Collection
from dataclasses import replace
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.logs import bind_request
from service.metrics import Metrics
from service.rest.ids import new_id
from service.rest.middleware.refusal import REFUSALS, RawHeaders
from service.rest.middleware.security import SecurityHeaders
from service.timeline import Answer, Trace, Tracer

log = logging.getLogger(__name__)

_PROBES = {"/healthz", "/readyz", "/metrics"}  # requested every few seconds; counted, but not logged
_SANE_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")  # no spaces, quotes or line breaks: it goes into the log
_REFUSAL_EVERY_S = 0.1  # the next line says how many refusals were left out in between


class RequestRecorder:
    """ASGI middleware that gives each request an id, and records its status and duration."""

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        paths: Collection[str],
        security: SecurityHeaders,
        tracer: Tracer | None = None,
    ) -> None:
        """Wrap `app`; its answers get the headers of `security`. `tracer` makes spans of the requests.

        In the metrics, all paths outside `paths` share the label "other". Callers can request any path, so
        the number of labels would have no limit if each path had a label.
        """
        self._app = app
        self._metrics = metrics
        self._paths = frozenset(paths)
        self._security = security
        self._tracer = tracer
        self._refusal_logged, self._refusals_omitted = -math.inf, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection; record it if it is an HTTP request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_id_of(scope["headers"])
        started = perf_counter()
        trace = self.begin(scope["path"], scope["method"], scope["headers"])
        scope.setdefault("state", {}).update(request_id=request_id, trace=trace)
        bind_request(request_id, trace)
        code, begun = 500, False  # the server sends a 500 if the app sends nothing

        async def send_and_note(message: Message) -> None:
            nonlocal code, begun
            if message["type"] == "http.response.start":
                code, begun = message["status"], True
                own = message.get("headers", ())
                message["headers"] = [*own, *self.headers_besides(own, request_id, trace)]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except asyncio.CancelledError:
            code = code if begun else 503  # the server answers 503 to a request that it must give up
            raise
        finally:
            route = scope.get("route")
            path: str = scope["path"] if route is None else route.path  # /models/{name}/example, for example
            answer = Answer(scope["method"], path, code, request_id)
            # The key, if access.py has found one.
            self.record(answer, started, key=scope["state"].get("key"), trace=trace)

    def headers_besides(self, own: RawHeaders, request_id: str, trace: Trace | None) -> RawHeaders:
        """Return the headers to add to an answer that has the headers `own`: ids and security headers."""
        ids = [(b"x-request-id", request_id.encode())]
        if trace is not None:
            ids.append((b"traceparent", trace.traceparent.encode()))
        return [*ids, *self._security.besides(own)]

    def begin(self, path: str, method: str, headers: RawHeaders) -> Trace | None:
        """Count a request as in flight, until it is recorded; return its trace, if it is traced."""
        self._metrics.request_started()
        return None if self._tracer is None or path in _PROBES else self._tracer.begin(method, headers)

    def record(
        self, answer: Answer, started: float, *, key: tuple[str, str] | None, trace: Trace | None
    ) -> None:
        """Count and log an answered request, and end its trace.

        Args:
            answer: the answer; its route may be any path.
            started: time of `perf_counter` when the request began.
            key: name and id of the key with which the request was sent, if the path needs a key.
            trace: trace of the request, if it is traced.
        """
        duration_s, code, request_id = perf_counter() - started, answer.code, answer.request_id
        known = answer.route if answer.route in self._paths else None
        route = known or "other"
        sampled = trace is not None and trace.root is not None
        self._metrics.request_ended(route, code, duration_s, trace.trace_id if trace and sampled else None)
        if key is not None:
            self._metrics.caller_answered(key[0])
        if route not in _PROBES and (code not in REFUSALS or self._logs_refusal(started)):
            facts = {"route": route, "code": code, "id": request_id, "duration_s": round(duration_s, 4)}
            if key is not None:
                facts["key"], facts["key_id"] = key
            if code in REFUSALS:
                facts["omitted"], self._refusals_omitted = self._refusals_omitted, 0
            if trace is not None:
                facts["trace_id"], facts["span_id"] = trace.trace_id, trace.span_id
            log.info("request_answered", extra=facts)
        if self._tracer is not None and trace is not None:
            self._tracer.end(trace, replace(answer, route=known))

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
