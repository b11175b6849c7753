"""Describe for openapi.json what FastAPI cannot derive from the routes: parameters, body and problems."""

from typing import Annotated, Any

from fastapi import FastAPI, Query

from service.rest.problems import MEDIA_TYPE
from service.rest.query import DetectQuery

_IMAGE_FORMATS = (
    "image/jpeg",
    "image/png",
    "image/webp",
    "image/bmp",
    "image/tiff",
    "image/gif",
    "image/avif",
)
_URL = {"type": "string", "format": "uri", "pattern": "^[Hh][Tt][Tt][Pp][Ss]:", "maxLength": 4096}


def _json_with(name: str, value: dict[str, Any], meaning: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: {**value, "description": meaning}},
        "required": [name],
        "additionalProperties": False,
    }


_JSON: dict[str, Any] = {
    "schema": {
        "oneOf": [
            _json_with("image", {"type": "string", "contentEncoding": "base64"}, "An image file."),
            _json_with("url", _URL, "URL of an image, on a host of SPARSIGHT_FETCH__HOSTS."),
            _json_with("urls", {"type": "array", "items": _URL, "minItems": 1}, "URLs of images, likewise."),
        ]
    }
}
_FILE: dict[str, Any] = {"type": "string", "format": "binary", "minLength": 1}
_BINARY: dict[str, Any] = {"schema": _FILE}
_FORM: dict[str, Any] = {
    "schema": {
        "type": "object",
        "properties": {"image": {"type": "array", "items": _FILE, "minItems": 1}},
    }
}
DETECT_BODY = {
    "required": True,
    "description": "One image as the body, a form with one or more files of any name, or JSON.",
    "content": {
        **dict.fromkeys((*_IMAGE_FORMATS, "application/octet-stream"), _BINARY),
        "application/json": _JSON,
        "multipart/form-data": _FORM,
    },
}


def _detect_parameters() -> list[dict[str, Any]]:
    app = FastAPI()

    @app.post("/")
    def described(query: Annotated[DetectQuery, Query()]) -> None:
        pass

    parameters: list[dict[str, Any]] = app.openapi()["paths"]["/"]["post"]["parameters"]
    return parameters


DETECT: dict[str, Any] = {"parameters": _detect_parameters(), "requestBody": DETECT_BODY}
"""The OpenAPI description of the parameters and the body of a detection request."""
_PROBLEM_CONTENT = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
_PROBLEM_CODES = {
    400: "The form cannot be read.",
    404: "The model or the version does not exist.",
    408: "The body took too long to arrive.",
    413: "The body has too many bytes, or the image too many pixels.",
    415: "The body is not an image in a supported format.",
    422: "A parameter is invalid, the image is empty or damaged, or it was not fetched from its URL.",
    429: "Too many requests at once; try again after Retry-After seconds.",
    500: "A defect of the service; report it with the id.",
    503: "No backend can answer now; try again after Retry-After seconds.",
    504: "The answer was not ready in time.",
}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    code: {"description": meaning, "content": _PROBLEM_CONTENT} for code, meaning in _PROBLEM_CODES.items()
}
"""The OpenAPI description of the problem responses to a detection request, by status."""
RELOAD: dict[int | str, dict[str, Any]] = {
    401: {"description": "The key or token is missing or wrong.", "content": _PROBLEM_CONTENT},
    403: {
        "description": "The key is not for this, or neither keys nor SPARSIGHT_ADMIN_TOKEN are set.",
        "content": _PROBLEM_CONTENT,
    },
    409: {"description": "A model is broken; the other changes are made.", "content": _PROBLEM_CONTENT},
    503: PROBLEMS[503],
}
WRONG_PARAMETER: dict[int | str, dict[str, Any]] = {
    422: {"description": "A parameter is invalid.", "content": _PROBLEM_CONTENT}
}
NOT_READY: dict[int | str, dict[str, Any]] = {503: PROBLEMS[503]}
