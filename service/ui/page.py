"""Serve the files of the web page; they need no build step and load nothing from other servers."""

from pathlib import Path

from fastapi import APIRouter, Response

router = APIRouter(include_in_schema=False)

_STATIC = Path(__file__).parent / "static"
_FILES = {
    "/": ("index.html", "text/html"),
    "/ui/app.js": ("app.js", "text/javascript"),
    "/ui/camera.js": ("camera.js", "text/javascript"),
    "/ui/charts.js": ("charts.js", "text/javascript"),
    "/ui/compare.js": ("compare.js", "text/javascript"),
    "/ui/draw.js": ("draw.js", "text/javascript"),
    "/ui/drift.js": ("drift.js", "text/javascript"),
    "/ui/experts.js": ("experts.js", "text/javascript"),
    "/ui/explain.js": ("explain.js", "text/javascript"),
    "/ui/heat.js": ("heat.js", "text/javascript"),
    "/ui/keyed.js": ("keyed.js", "text/javascript"),
    "/ui/live.js": ("live.js", "text/javascript"),
    "/ui/metrics.js": ("metrics.js", "text/javascript"),
    "/ui/routes.js": ("routes.js", "text/javascript"),
    "/ui/seen.js": ("seen.js", "text/javascript"),
    "/ui/shapes.js": ("shapes.js", "text/javascript"),
    "/ui/strip.js": ("strip.js", "text/javascript"),
    "/ui/theme.js": ("theme.js", "text/javascript"),
    "/ui/words.js": ("words.js", "text/javascript"),
    "/ui/style.css": ("style.css", "text/css"),
    "/ui/icon.svg": ("icon.svg", "image/svg+xml"),
}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:;"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def _serve(path: str, name: str, media_type: str) -> None:
    @router.get(path)
    def file_route() -> Response:
        return Response((_STATIC / name).read_bytes(), headers=_HEADERS, media_type=media_type)


for _path, (_name, _media_type) in _FILES.items():
    _serve(_path, _name, _media_type)
