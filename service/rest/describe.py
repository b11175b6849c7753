"""What openapi.json tells about bodies and problems beyond what the routes' own types say."""

from typing import Any

from service.rest.problems import MEDIA_TYPE

_IMAGE_FORMATS = ("image/jpeg", "image/png", "image/webp", "image/bmp", "image/tiff", "image/gif")
_BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_FORM: dict[str, Any] = {
    "schema": {
        "type": "object",
        "properties": {"image": {"type": "array", "items": {"type": "string", "format": "binary"}}},
    }
}
DETECT_BODY = {
    "required": True,
    "description": "One image as the body, or a form with one or more files of any name.",
    "content": {
        **dict.fromkeys((*_IMAGE_FORMATS, "application/octet-stream"), _BINARY),
        "multipart/form-data": _FORM,
    },
}
PROBLEM: dict[str, Any] = {
    "description": "A problem, and what to do about it.",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
_PROBLEM_CODES: tuple[int | str, ...] = (400, 404, 408, 413, 415, 422, 429, 500, 503, 504)
PROBLEMS: dict[int | str, dict[str, Any]] = dict.fromkeys(_PROBLEM_CODES, PROBLEM)
