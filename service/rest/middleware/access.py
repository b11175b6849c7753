"""Refuse callers that have no access, before other code looks at their requests."""

from collections.abc import Mapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access.gate import Caller, Gate
from service.access.table import rule_of
from service.access_errors import ACCESS_ERRORS, Unauthorized
from service.errors import ServiceError
from service.metrics import Metrics
from service.rest.middleware.ports import port_of
from service.rest.middleware.refusal import Refusal
from service.timeline import note_error

_NO_ROOM = {429, 503}


class AccessCheck:
    """ASGI middleware that refuses requests without the key that their path needs; it never reads a body.

    It runs after the recorder, so that refusals are counted and have ids. It runs before the door (door.py),
    so that a caller without a key neither takes a place in the queue nor learns how long the queue is.
    """

    def __init__(self, app: ASGIApp, gate: Gate, metrics: Metrics, *, two_ports: bool) -> None:
        """Wrap `app`; with `two_ports`, the port of a request decides which paths exist for it."""
        self._two_ports = two_ports
        self._app = app
        self._gate = gate
        self._metrics = metrics
        self._refusals: dict[type[ServiceError], Refusal] = {error: Refusal(error) for error in ACCESS_ERRORS}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "websocket":  # no path accepts a WebSocket
            await send({"type": "websocket.close"})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            port = port_of(scope) if self._two_ports else "both"
            caller = self._gate.check(scope["path"], scope["headers"], port)
            if caller is None:
                await self._app(scope, receive, send)
                return
            scope["state"] |= {"caller": caller, "key": caller.key}
            if caller.allowance is not None:
                caller.allowance.take()
        except ACCESS_ERRORS as error:
            await self._refuse(error, scope, send)
            return
        await self._serve(caller, scope, receive, send)

    async def _serve(self, caller: Caller, scope: Scope, receive: Receive, send: Send) -> None:
        code = 500

        async def send_and_note(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                if code in _NO_ROOM and caller.allowance is not None:
                    caller.allowance.give_back()
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        finally:
            route, rule = rule_of(scope["path"])
            if rule.need == "admin":
                self._gate.audit.acted(_facts(scope, route, code))

    async def _refuse(self, error: ServiceError, scope: Scope, send: Send) -> None:
        refusal = self._refusals[type(error)]
        self._metrics.rejected(refusal.slug)
        note_error(scope["state"], error)
        scope["state"].setdefault("key", getattr(error, "key", None))
        facts = _facts(scope, rule_of(scope["path"])[0], refusal.status)
        why: str = getattr(error, "why", "")
        self._gate.audit.refused({"why": why, **facts})
        headers, body = refusal.answer(error, scope["state"]["request_id"])
        await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def caller_of(scope: Scope) -> Caller | None:
    """Return who sent a request; None if its path is open, or if the service uses no keys."""
    caller = scope.get("state", {}).get("caller")
    assert caller is None or isinstance(caller, Caller)
    return caller


def is_told_reasons(gate: Gate, scope: Scope) -> bool:
    """Return whether the sender of a request to an open path may read texts that name models."""
    if not gate.is_on:
        return True
    try:
        gate.identify(scope["headers"])
    except Unauthorized:
        return False
    return True


def _facts(scope: Scope, route: str | None, code: int) -> Mapping[str, Any]:
    # The other end of the connection, as headers such as X-Forwarded-For say what their sender likes.
    client = scope.get("client")
    name, key_id = scope["state"]["key"] or (None, None)
    return {
        "key": name,
        "key_id": key_id,
        "route": route or "other",
        "code": code,
        "id": scope["state"]["request_id"],
        "caller": client[0] if client else None,
    }
