"""Describe in openapi.json which path needs which kind of key."""

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI

from service.access.table import rule_of
from service.rest.problems import MEDIA_TYPE

_SCHEME = "key"
_PROBLEM = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
_CODES = {
    "401": "The service asks for a key, and the request has none, or one that is not valid.",
    "403": "The key is not for this address.",
    "429": "The key has had as many requests as it may have; try again after Retry-After seconds.",
}


def describe_keys(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """Return a function for `app.openapi` that adds the keys to the description that FastAPI generates."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        document = plain()  # FastAPI makes it once, and returns the same object each time
        schemes = document["components"].setdefault("securitySchemes", {})
        if _SCHEME in schemes:
            return document
        schemes[_SCHEME] = {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key or a JSON Web Token; only where the operator has set up keys.",
        }
        for path, operations in document["paths"].items():
            need = rule_of(path)[1].need
            for operation in operations.values() if need != "open" else ():
                # Either the key or nothing is needed: the operator decides.
                operation["security"] = [{_SCHEME: [need]}, {}]
                for code, meaning in _CODES.items():
                    operation["responses"].setdefault(code, {"description": meaning, "content": _PROBLEM})
        return document

    return openapi
