"""Serve the interactive API documentation at /docs, with scripts from this process, not from a CDN."""

from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, Response

router = APIRouter(include_in_schema=False)

_STATIC = Path(__file__).parent / "static"
# The package fastapi_offline contains the files of Swagger UI, which FastAPI would load from a CDN.
_SWAGGER_UI = files("fastapi_offline") / "static"
_FILES = {
    "/docs": (_STATIC / "docs.html", "text/html"),
    "/docs/start.js": (_STATIC / "docs.js", "text/javascript"),
    "/docs/swagger-ui.js": (_SWAGGER_UI / "swagger-ui-bundle.js", "text/javascript"),
    "/docs/swagger-ui.css": (_SWAGGER_UI / "swagger-ui.css", "text/css"),
}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:;"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def _serve(path: str) -> None:
    file, media_type = _FILES[path]

    @router.get(path)
    def file_route() -> Response:
        return Response(file.read_bytes(), headers=_HEADERS, media_type=media_type)


for _path in _FILES:
    _serve(_path)
