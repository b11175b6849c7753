"""Define who may use which path, and on which port; no other file of the service defines this.

A path that is not in the table is closed to every caller without the scope `admin`. So a new route stays
closed until somebody adds it here. The keys of the table are the paths of the routes, as FastAPI writes them.
If a caller writes a path in another way (`//detect`, `/detect/`, `/Detect`), it is another path, and so is
closed, too.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Scope = Literal["detect", "metrics", "admin"]
"""Scope of a key: what the key may be used for; `admin` includes the other scopes."""

SCOPES: tuple[Scope, ...] = get_args(Scope)
Need = Literal["open", "detect", "metrics", "admin"]
"""What a caller needs to use a path: nothing (`open`), or a key with this scope."""


Place = Literal["callers", "operator", "both"]
"""The port that answers a path, if the service has one port for callers and one for the operator."""


@dataclass(frozen=True)
class Rule:
    """What a caller needs to use one path, and the port that answers the path."""

    need: Need
    place: Place = "callers"


_OPEN, _PROBE, _DETECT = Rule("open"), Rule("open", "both"), Rule("detect")
_METRICS, _ADMIN = Rule("metrics", "operator"), Rule("admin", "operator")

RULES: Mapping[str, Rule] = {
    "/detect": _DETECT,
    "/v1/detect": _DETECT,
    "/detect/batch": _DETECT,
    "/v1/detect/batch": _DETECT,
    "/preview": _DETECT,
    "/models": _DETECT,
    "/models/{name}/example": _DETECT,
    "/models/{name}/experts": _DETECT,
    "/models/reload": _ADMIN,
    "/audits": _ADMIN,
    "/audits/release": _ADMIN,
    "/metrics": _METRICS,
    "/routing": _METRICS,
    "/routing/reset": _ADMIN,
    # Images of callers, so nobody but the operator sees them.
    "/novel": _ADMIN,
    "/novel/{image_id}": _ADMIN,
    # For the probes of an orchestrator, which have no key; without one, /readyz gives no reasons.
    "/healthz": _PROBE,
    "/readyz": _PROBE,
    # The files of the web page, so that a person can open it to enter a key. They are the same in every
    # gateway.
    "/": _OPEN,
    "/ui/app.js": _OPEN,
    "/ui/camera.js": _OPEN,
    "/ui/charts.js": _OPEN,
    "/ui/compare.js": _OPEN,
    "/ui/draw.js": _OPEN,
    "/ui/drift.js": _OPEN,
    "/ui/experts.js": _OPEN,
    "/ui/explain.js": _OPEN,
    "/ui/heat.js": _OPEN,
    "/ui/keyed.js": _OPEN,
    "/ui/live.js": _OPEN,
    "/ui/metrics.js": _OPEN,
    "/ui/routes.js": _OPEN,
    "/ui/seen.js": _OPEN,
    "/ui/shapes.js": _OPEN,
    "/ui/strip.js": _OPEN,
    "/ui/theme.js": _OPEN,
    "/ui/words.js": _OPEN,
    "/ui/style.css": _OPEN,
    "/ui/icon.svg": _OPEN,
    # Likewise. The description of the API names no model and no setting, and the page with it needs it at
    # once.
    "/docs": _OPEN,
    "/docs/start.js": _OPEN,
    "/docs/swagger-ui.js": _OPEN,
    "/docs/swagger-ui.css": _OPEN,
    "/openapi.json": _OPEN,
}

CLOSED = Rule("admin", "both")
"""The rule for every path that is not in the table; both ports treat such a path in the same way."""

_PATTERNS = [
    (re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), path, rule) for path, rule in RULES.items() if "{" in path
]


def rule_on(port: Place, path: str) -> tuple[str | None, Rule]:
    """Return a path's route and its rule on a port; `both` stands for the port of a service with only one."""
    route, rule = rule_of(path)
    return (route, rule) if port == "both" or rule.place in (port, "both") else (None, CLOSED)


def rule_of(path: str) -> tuple[str | None, Rule]:
    """Return the route of a path and its rule; the route is None if the path is not in the table."""
    rule = RULES.get(path)
    if rule is not None:
        return path, rule
    for pattern, route, rule in _PATTERNS:
        # The whole path: the router's own patterns also take a line break at the end.
        if pattern.fullmatch(path):
            return route, rule
    return None, CLOSED
