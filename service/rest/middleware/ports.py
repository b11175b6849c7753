"""Answer the operator's routes only on the operator's port, if there is one."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.access.table import Place, rule_of

IS_ADMIN_PORT = "is_admin_port"
"""Name of the entry that the server adds to the state of each request on the admin port."""


def port_of(scope: Scope) -> Place:
    """Return the port on which a request came, if the service has two ports."""
    return "operator" if scope["state"].get(IS_ADMIN_PORT, False) else "callers"


class Ports:
    """ASGI middleware for two ports: each port answers as if the other port's routes did not exist."""

    def __init__(self, app: ASGIApp, not_found: Callable[[Request], Response]) -> None:
        """Wrap `app`; `not_found` makes the answer for a path that does not exist."""
        self._app = app
        self._not_found = not_found

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one ASGI connection."""
        if scope["type"] == "http" and not self._has(scope):
            return self._not_found(Request(scope))(scope, receive, send)
        return self._app(scope, receive, send)

    def _has(self, scope: Scope) -> bool:
        return rule_of(scope["path"])[1].place in (port_of(scope), "both")


def _is_operators(path: str) -> bool:
    return rule_of(path)[1].place == "operator"


def without_operators(document: dict[str, Any]) -> dict[str, Any]:
    """Return an OpenAPI document without the operator's routes, and without schemas that only they use."""
    paths = {path: described for path, described in document["paths"].items() if not _is_operators(path)}
    left, schemas = {**document, "paths": paths}, document["components"]["schemas"]
    while True:
        text = json.dumps(left | {"components": {"schemas": schemas}})
        used = {name: one for name, one in schemas.items() if f'"#/components/schemas/{name}"' in text}
        if len(used) == len(schemas):
            return left | {"components": {**document["components"], "schemas": schemas}}
        schemas = used
