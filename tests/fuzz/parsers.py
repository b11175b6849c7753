"""Give mutated parts of requests to the functions that read them, and check that only documented errors come.

The first line of an input names the function, and the second one a header; the rest is a body or a query.
"""

import asyncio
import gzip
import json
import math
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.types import Message

from service.artifact.manifest import Manifest, parse_manifest
from service.errors import ServiceError
from service.rest.body import read_upload
from service.rest.handlers import _fault
from service.rest.length import announced_bytes
from service.rest.middleware.door import Door
from service.rest.middleware.recorder import request_id_of
from service.rest.problems import STATUS, to_problem
from service.rest.query import DetectQuery, read_query, refuse_repeated
from service.settings import Settings
from service.tasks.resolve import resolve
from tests.fuzz.mutate_text import mutate_text
from tests.fuzz.promises import BrokenPromise, Outcome

LARGEST = 65_536
MEMORY_MB = 64
_LIMIT = 32_768  # bytes of a body
_STARTER = Path(__file__).parents[2] / "model_repository" / "starter-openvino" / "1" / "manifest.json"
_BOUNDARY = b"multipart/form-data; boundary=xx"
_PNG = b"\x89PNG\r\n\x1a\n" + bytes(16)


class _Given:
    """What every run needs, and takes long to make."""

    settings = Settings(max_body_bytes=_LIMIT, body_timeout_s=20, max_files=3)
    runner = asyncio.Runner()
    manifest: Manifest


def prepare() -> None:
    """Read the manifest of the starter."""
    _Given.manifest = parse_manifest(_STARTER.read_bytes(), str(_STARTER))


def mutate(data: bytes, random: Random, seeds: list[bytes], largest: int) -> bytes:
    """Return an input for the same function most of the time, with another header or body."""
    name, header, rest = _split(data)
    if random.random() < 0.3:
        header = mutate_text(header, random, [_split(seed)[1] for seed in seeds], 4096)
    else:
        rest = mutate_text(rest, random, [_split(seed)[2] for seed in seeds], largest - 5000)
    return b"\n".join((name, header.replace(b"\n", b""), rest))


def parser_seeds() -> dict[str, bytes]:
    """Return inputs by a name that says what is special about them."""
    return {name: b"\n".join(parts) for name, parts in (*_queries(), *_forms(), *_bodies(), *_heads())}


def check(data: bytes) -> Outcome:
    """Give an input to the function that its first line names.

    Raises:
        BrokenPromise: what came back breaks a promise.
        Exception: the function raised something that is not documented.
    """
    name, header, rest = _split(data)
    try:
        match name:
            case b"query":
                _check_query(header, rest)
            case b"head":
                _check_head(header, rest)
            case _:
                _check_body(header, rest, packed=name == b"packed")
    except RequestValidationError as error:
        for detail in error.errors():
            _check_text(_fault(detail, _request([])).model_dump_json())
        return "refused"
    except ServiceError as error:
        if type(error) not in STATUS:
            raise
        _check_text(to_problem(error, "id").model_dump_json())
        return "refused"
    return "accepted"


def _split(data: bytes) -> tuple[bytes, bytes, bytes]:
    name, _, rest = data.partition(b"\n")
    header, _, rest = rest.partition(b"\n")
    return name[:10], header, rest


def _request(headers: list[tuple[bytes, bytes]], query: bytes = b"", body: bytes = b"") -> Request:
    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": "/detect",
        "query_string": query,
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "state": {"request_id": "id"},
    }
    parts = [body[i : i + 1000] for i in range(0, len(body), 1000)] or [b""]

    async def receive() -> Message:
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    return Request(scope, receive)


def _check_query(accept: bytes, query: bytes) -> None:
    request = _request([(b"accept", accept), (b"traceparent", accept)], query)
    read = read_query(request).as_accepted_by(request)
    params = read.params()
    refuse_repeated(request)
    read.check_names(_Given.manifest)
    resolved = resolve(params, _Given.manifest)
    context = read.context(request, 1.0)
    if not 0 < context.allowed_s <= 600 or any(map(math.isnan, resolved.values.values())):
        raise BrokenPromise("query", f"{context} {resolved}")
    for row in _Given.manifest.controls:
        if not row.accepts(resolved.controls[row.name]):
            raise BrokenPromise("query", f"{row.name} is {resolved.controls[row.name]}")


def _check_head(length: bytes, value: bytes) -> None:
    request_id = request_id_of([(b"x-request-id", value)])
    if not request_id.isprintable() or not 0 < len(request_id) <= 200:
        raise BrokenPromise("request id", repr(request_id))
    if length.isdigit():  # as the server checks
        number = announced_bytes(_request([(b"content-length", length)]).headers)
        if number is None or number < 0:
            raise BrokenPromise("length", repr(number))
    _Asked().check(value)


class _Asked(Door):
    """The door, to see which wait it asks the service for."""

    def __init__(self) -> None:
        self._service = self  # type: ignore[assignment]  # it asks only this
        self._app = self  # type: ignore[assignment]

    def check(self, query: bytes) -> None:
        """Read a query as the door does, before anything else reads it."""
        self._check_wait(query, 1)

    def check_wait(self, params: Any, size_bytes: int, priority: str, timeout_s: float | None) -> None:
        if priority not in ("high", "normal", "low") or (timeout_s is not None and not 0 <= timeout_s < 1e3):
            raise BrokenPromise("door", f"{priority} {timeout_s}")


def _check_body(header: bytes, body: bytes, *, packed: bool) -> None:
    headers = [(b"content-type", header)]
    if packed:
        body = gzip.compress(body, 1) if header.startswith(b"m") else body
        headers.append((b"content-encoding", b"gzip"))
    upload = _Given.runner.run(read_upload(_request(headers, body=body), _Given.settings))
    if not upload.images or len(upload.images) > _Given.settings.max_files:
        raise BrokenPromise("upload", f"{len(upload.images)} images")
    if sum(map(len, upload.images)) > _LIMIT:
        raise BrokenPromise("upload", "more bytes than the limit")
    for file in upload.files:
        if file is not None and (len(file) > 255 or not (file.isprintable() or not file) or "/" in file):
            raise BrokenPromise("name", repr(file))


def _check_text(written: str) -> None:
    """Check what a caller would get: short JSON that can be sent."""
    if len(written.encode()) > 4000:
        raise BrokenPromise("problem", f"{len(written)} characters")
    json.loads(written)


# ---- what to begin with ----------------------------------------------------------------------


def _queries() -> Iterator[tuple[str, tuple[bytes, bytes, bytes]]]:
    for name, field in DetectQuery.model_fields.items():
        yield f"query {name}", (b"query", b"*/*", f"{name}={field.default}".encode())
    for number, query in enumerate((
        b"conf=0.3,fish:0.4&iou=0.5&max_det=10&classes=fish,shark&agnostic_nms=true",
        b"top_k=2&weight_threshold=0.1&timeout_ms=1000&priority=high&quality=high",
        b"format=coco&masks=rle&moe=full&several=1&bits=12&version=1&backend=openvino",
        b"format=jpeg&confidence=0.2&conf=0.2&conf=0.3",
    )):  # fmt: skip
        yield f"query {number}", (b"query", b"image/jpeg;q=1, */*", query)


def _forms() -> Iterator[tuple[str, tuple[bytes, bytes, bytes]]]:
    part = b'--xx\r\nContent-Disposition: form-data; name="image"; filename="%s"\r\n\r\n%s\r\n'
    field = b'--xx\r\nContent-Disposition: form-data; name="conf"\r\n\r\n0.5\r\n'
    named = part.replace(b'"%s"', b"\"a.png\"; filename*=utf-8''%%C3%%A9%s")
    for name, body in {
        "one": part % (b"a.png", _PNG) + b"--xx--\r\n",
        "three": part % (b"../b.png", _PNG) * 3 + b"--xx--\r\n",
        "four": part % (b"c.png", _PNG) * 4 + b"--xx--\r\n",
        "field": part % (b"d.png", _PNG) + field + b"--xx--",
        "cut": part % (b"e.png", _PNG),
        "extended": named % (b".png", _PNG) + b"--xx--\r\n",
    }.items():
        yield f"form {name}", (b"form", _BOUNDARY, body)
        yield f"form packed {name}", (b"packed", _BOUNDARY, body)


def _bodies() -> Iterator[tuple[str, tuple[bytes, bytes, bytes]]]:
    base64 = b"iVBORw0KGgoAAAAAAAAAAAAAAAAAAAAAAAA="
    for number, body in enumerate((
        _PNG, base64, b"data:image/png;base64," + base64, b"image=" + base64, b'{"image": "%s"}' % base64,
        b'"%s"' % base64, b'{"image": 1}', b"[" * 500, b"https://example.org/a.png", b"a=1&b=2",
        b"data:text/plain,hello%20you", b"<html></html>", b"\xef\xbb\xbf" + base64,
        _PNG.replace(b"\0", b"a") * 4,
        b'--xx\r\nContent-Disposition: form-data; name="image"', b'{"image": "\\ud800"}',
    )):  # fmt: skip
        yield f"body {number}", (b"body", b"application/octet-stream", body)
    yield "body packed", (b"packed", b"image/png", gzip.compress(_PNG))
    yield "body packed far", (b"packed", b"image/png", gzip.compress(bytes(_LIMIT + 1)))


def _heads() -> Iterator[tuple[str, tuple[bytes, bytes, bytes]]]:
    yield "head", (b"head", b"000012", b"my-request.1")
    yield (
        "head query",
        (b"head", b"9" * 30, b"timeout_ms=600000&priority=low&model=starter&backend=auto&version=1"),
    )
