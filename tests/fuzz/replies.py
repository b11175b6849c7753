"""Read HTTP answers strictly, and check that they are what the API documents."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fuzz.promises import BrokenPromise

_STATUS = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2}) [ -~]*")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t -~\x80-\xff]*)")
_OPENAPI = Path(__file__).parents[2] / "service" / "rest" / "openapi.json"
# What the server and the framework answer to requests that reach no route, or none that is documented.
_ELSEWHERE = {200, 307, 400, 401, 403, 404, 405, 408, 409, 413, 414, 415, 417, 422, 429, 431}
_SERVER = {400, 408, 413, 414, 431}  # whatever the route is
_INTERIM = 200


@dataclass(frozen=True)
class Reply:
    """One HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes


def read_reply(data: bytes, *, has_body: bool) -> tuple[Reply, bytes] | None:
    """Return the first whole answer, and what follows it; None if it is not whole yet.

    Raises:
        BrokenPromise: this is not HTTP.
    """
    head, mark, rest = data.partition(b"\r\n\r\n")
    if not mark:
        if len(data) > 65_536 or not b"HTTP/1.1 ".startswith(data[:9]):
            raise BrokenPromise("no HTTP", repr(data[:80]))
        return None
    first, *lines = head.split(b"\r\n")
    status, pairs = _STATUS.fullmatch(first), [_HEADER.fullmatch(line) for line in lines]
    if status is None or not all(pairs):
        raise BrokenPromise("no HTTP", repr(head[:400]))
    headers: dict[str, str] = {}
    for name, value in (pair.groups() for pair in pairs if pair):
        lower = name.decode().lower()
        if lower in headers and lower in ("content-length", "content-type", "transfer-encoding"):
            raise BrokenPromise("no HTTP", f"{lower} twice")
        headers[lower] = value.decode("latin-1")
    code = int(status[1])
    if code < _INTERIM or code in (204, 304) or not has_body:
        return Reply(code, headers, b""), rest
    if headers.get("transfer-encoding") == "chunked":
        return _chunked(code, headers, rest)
    length = int(headers.get("content-length", "0")) if "content-length" in headers else None
    if length is None:  # up to the end of the connection
        return (Reply(code, headers, rest), b"") if headers.get("connection") == "close" else None
    return (Reply(code, headers, rest[:length]), rest[length:]) if len(rest) >= length else None


def _chunked(code: int, headers: dict[str, str], rest: bytes) -> tuple[Reply, bytes] | None:
    body = b""
    while True:
        size, mark, rest = rest.partition(b"\r\n")
        if not mark:
            return None
        count = int(size, 16)
        if len(rest) < count + 2:
            return None
        body, rest = body + rest[:count], rest[count + 2 :]
        if not count:
            return Reply(code, headers, body), rest


def documented() -> dict[tuple[str, str], set[int]]:
    """Return the statuses that openapi.json names, by method and path."""
    paths: dict[str, Any] = json.loads(_OPENAPI.read_text())["paths"]
    return {
        (method.upper(), path): {int(code) for code in operation["responses"]}
        for path, operations in paths.items()
        for method, operation in operations.items()
    }


def check_reply(
    reply: Reply, route: tuple[str, str] | None, statuses: set[int] | None, *, hurried: bool
) -> None:
    """Check an answer.

    Args:
        reply: the answer.
        route: its method and path, if the head of the request was not mutated.
        statuses: what is documented for the route.
        hurried: whether the request may have had a time limit.

    Raises:
        BrokenPromise: it is not what the API documents.
    """
    allowed = _ELSEWHERE if statuses is None else statuses | _SERVER
    if reply.status not in (allowed - {500, 503, 504}) | ({504} if hurried else set()) | {100}:
        raise BrokenPromise(f"status {reply.status}", f"{route}: {reply.body[:500]!r}")
    kind = reply.headers.get("content-type", "")
    if kind.startswith("application/problem+json"):
        if not reply.body:
            return  # of a HEAD
        problem = json.loads(reply.body)
        if problem["status"] != reply.status or not {"type", "title", "detail", "id"} <= problem.keys():
            raise BrokenPromise("problem", repr(reply.body[:300]))
        if problem["id"] != reply.headers.get("x-request-id"):
            raise BrokenPromise("request id", repr(reply))
    elif reply.status >= 400 and reply.status not in _SERVER:
        raise BrokenPromise(f"no problem {reply.status}", repr(reply)[:500])
    elif kind.startswith("application/json") and reply.body:
        json.loads(reply.body)
