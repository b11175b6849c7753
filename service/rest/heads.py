"""Find what is wrong with the head of a request, and answer it without the app.

Two programs could read an ambiguous request, such as a request with two lengths, in two ways. The parser
refuses most such requests; this module checks the rest. Otherwise, a proxy before the service could see one
request where the service sees two, and a caller could hide the second request from the proxy.
"""

from http import HTTPStatus

from service.errors import NotReady
from service.metrics import Metrics, RefusedConnection
from service.rest.ids import new_id
from service.rest.middleware.refusal import RawHeaders, Refusal
from service.rest.middleware.security import SecurityHeaders
from service.rest.problems import MEDIA_TYPE, problem

LARGEST_HEAD = 65_536  # bytes of target and headers; browsers and proxies send at most half of it

Fault = tuple[HTTPStatus, str]
"""The status of a refusal, and a sentence about what is wrong."""

TOO_LARGE: Fault = (
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    f"the head of the request is over the limit of {LARGEST_HEAD:,} bytes; send fewer or shorter headers",
)
TOO_SLOW: Fault = (
    HTTPStatus.REQUEST_TIMEOUT,
    "the head of the request did not arrive in time; send it again",
)
NOT_HTTP: Fault = (HTTPStatus.BAD_REQUEST, "this is not a valid HTTP/1.1 request")
TOO_MANY_CONNECTIONS: Fault = (
    HTTPStatus.SERVICE_UNAVAILABLE,
    "there are too many connections (SPARSIGHT_MAX_CONNECTIONS); try again in 1 s",
)
TOO_MANY_REQUESTS: Fault = (
    HTTPStatus.BAD_REQUEST,
    "too many requests wait on this connection; send them after the answers to others",
)


def fault_of(target: bytes, headers: RawHeaders, version: str, *, upgrades: bool) -> Fault | None:
    """Return what is wrong with a head that the parser has accepted; None if nothing is.

    Args:
        target: path and query, as they were sent.
        headers: the request's headers, with names in lower case.
        version: version of HTTP.
        upgrades: whether the parser takes the bytes after the head for another protocol, and so reads no
            body.
    """
    size = len(target)
    hosts = 0
    coding = length = b""
    for name, value in headers:
        size += len(name) + len(value) + 4  # colon, space, CR and LF
        if name == b"host":
            hosts += 1
        elif name == b"transfer-encoding":
            coding += value.strip().lower()
        elif name == b"content-length":
            length = value.strip().lstrip(b"0")
    if size > LARGEST_HEAD:
        return TOO_LARGE
    return _fault(hosts, coding, length, version, upgrades=upgrades)


def _fault(hosts: int, coding: bytes, length: bytes, version: str, *, upgrades: bool) -> Fault | None:
    if version not in ("1.0", "1.1"):
        sentence = f"this is HTTP/{version}; send HTTP/1.1"
    elif hosts != 1 and not (version == "1.0" and hosts == 0):
        sentence = f"the request has {hosts} Host headers; send one"
    elif coding and (coding != b"chunked" or version == "1.0"):
        sentence = "the only Transfer-Encoding is chunked, and only in HTTP/1.1"
    elif upgrades and (coding or length):
        sentence = "the request has a body, and asks for another protocol; leave Upgrade out"
    else:
        return None
    return HTTPStatus.BAD_REQUEST, sentence


_REASONS: dict[HTTPStatus, RefusedConnection] = {
    HTTPStatus.BAD_REQUEST: "malformed",
    HTTPStatus.REQUEST_TIMEOUT: "slow-head",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "large-head",
    HTTPStatus.SERVICE_UNAVAILABLE: "too-many",
}


class HeadAnswers:
    """The answers to requests that never reach the app, and to requests that the app must give up."""

    def __init__(self, metrics: Metrics, security: SecurityHeaders) -> None:
        """Count the refusals in `metrics`; answers have the headers of `security`."""
        self._metrics = metrics
        self._security = security
        self._stopping = Refusal(NotReady)

    def cut(self, request_id: str) -> tuple[RawHeaders, bytes]:
        """Return the headers and body of the 503 for a request that is unanswered when the service stops."""
        headers, body = self._stopping.answer(NotReady("it is stopping"), request_id)
        more = [(b"connection", b"close"), (b"x-request-id", request_id.encode())]
        return [*headers, *more, *self._security.of_problems], body

    def refuse(self, fault: Fault) -> tuple[RawHeaders, bytes]:
        """Count a refusal; return the headers and the body of its answer."""
        status, sentence = fault
        self._metrics.connection_refused(_REASONS[status])
        request_id = new_id()
        slug = status.phrase.lower().replace(" ", "-")
        body = problem(slug, status, sentence, request_id).model_dump_json(exclude_unset=True).encode()
        headers: RawHeaders = [
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            (b"x-request-id", request_id.encode()),
            *self._security.of_problems,
        ]
        if fault is TOO_MANY_CONNECTIONS:
            headers.append((b"retry-after", b"1"))
        return headers, body
