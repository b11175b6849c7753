"""Ask every address of a real gateway with every kind of key."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

from service.access.table import CLOSED, Scope, rule_of
from tests.access.running import CALLERS, Running
from tests.builders import golden_image, image_bytes

IMAGE = image_bytes(golden_image())
KINDS = ("no key", "garbage", "expired", "revoked", "wrong scope", "right scope")
WRONG: dict[str, Scope] = {"detect": "metrics", "metrics": "detect", "admin": "detect", "open": "detect"}
REFUSALS = {401, 403}


@dataclass(frozen=True)
class Row:
    """One address and method on one port, and the status for each kind of key."""

    port: str
    path: str
    method: str
    need: str
    is_here: bool  # whether the port answers the address at all
    statuses: tuple[int, ...]  # in the order of KINDS

    @property
    def faults(self) -> list[str]:
        """Return what is not as the table in service/access/table.py says."""
        found = []
        for kind, status in zip(KINDS, self.statuses, strict=True):
            if not self.is_here and kind == "right scope":
                is_right, wanted = status == 404, "404"
            elif self.need == "open" or kind == "right scope":
                is_right, wanted = status not in REFUSALS and status < 500, "an answer"
            else:
                code = 403 if kind == "wrong scope" else 401
                is_right, wanted = status == code, str(code)
            if not is_right:
                found.append(f"{self.method} {self.path}, {kind}: {status} instead of {wanted}")
        return found


def routes_of(app: FastAPI) -> dict[str, set[str]]:
    """Return the methods of every route of the app, by its path."""
    found: dict[str, set[str]] = {}
    for path, methods in _routes(app.routes):
        found.setdefault(path, set()).update(methods)
    return found


def _routes(routes: Iterable[Any]) -> Iterator[tuple[str, set[str]]]:
    for route in routes:
        inner = getattr(route, "original_router", None)  # of a router that was included
        if inner is not None:
            yield from _routes(inner.routes)
        else:
            yield route.path, getattr(route, "methods", None) or {"GET"}


def walk(gateway: Running, app: FastAPI) -> Iterator[Row]:
    """Yield a row for every port, route and method, also for methods that the route does not have."""
    for port in gateway.ports:
        for path, methods in routes_of(app).items():
            target = path.replace("{name}", "tiny")
            for method in sorted({*methods, "GET", "HEAD", "OPTIONS", "POST"}):
                yield ask_with_all(gateway, method, target, path, port)


def ask_with_all(gateway: Running, method: str, target: str, path: str, port: str = CALLERS) -> Row:
    """Return the row of one address, which is written as `target`; `path` is what it means."""
    rule = rule_of(path)[1]
    is_here = len(gateway.ports) == 1 or rule.place in (port, "both")
    need = rule.need if is_here else CLOSED.need
    keys = {
        "no key": None,
        "wrong scope": gateway.keys[WRONG[need]],
        "right scope": gateway.keys["admin" if need == "open" else need],
        **{kind: gateway.keys[kind] for kind in ("garbage", "expired", "revoked")},
    }
    body = IMAGE if method == "POST" else b""
    statuses = []
    for kind in KINDS:
        headers = () if keys[kind] is None else (f"Authorization: Bearer {keys[kind]}",)
        statuses.append(gateway.ask(method, target, *headers, body=body, port=port).status)
    return Row(port, path, method, need, is_here, tuple(statuses))
