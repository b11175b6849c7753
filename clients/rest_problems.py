"""Turn the service's error answers, which are problems of RFC 9457, into the errors of this package."""

import json
from collections.abc import Mapping
from typing import Any

from .errors import (
    BadImage,
    BadParameter,
    Busy,
    ClientError,
    DeadlineExceeded,
    KeyRefused,
    LimitReached,
    NotServed,
    Refused,
    ServerFailed,
    Unavailable,
    UnreadableAnswer,
)
from .exchange import Received

_UNAUTHORIZED = 401
_HOW = "in Python: api_key=KEY; in a shell: SPARSIGHT_API_KEY or --key-file"
_TYPE_PREFIX = "urn:sparsight:problem:"

# The error class for each problem; the key is the last part of the problem's type.
PROBLEMS: Mapping[str, type[ClientError]] = {
    "empty-image": BadImage,
    "unsupported-image": BadImage,
    "undecodable-image": BadImage,
    "image-too-large": BadImage,
    "body-too-large": BadImage,
    "fetch-off": Refused,
    "fetch-refused": Refused,
    "fetch-failed": BadImage,
    "fetch-too-large": BadImage,
    "body-timeout": DeadlineExceeded,
    "malformed-form": Refused,
    "form-too-large": Refused,
    "admin-off": Refused,
    "unauthorized": KeyRefused,
    "forbidden": KeyRefused,
    "reload-incomplete": Refused,
    "not-deleted": Refused,
    "invalid-parameter": BadParameter,
    "backend-not-offered": BadParameter,
    "unknown-model": NotServed,
    "unknown-version": NotServed,
    "no-example": NotServed,
    "no-report": NotServed,
    "novel-off": NotServed,
    "unknown-image": NotServed,
    "rate-exceeded": LimitReached,
    "quota-exceeded": LimitReached,
    "overloaded": Busy,
    "backend-busy": Busy,
    "not-ready": Unavailable,
    "backend-unavailable": Unavailable,
    "out-of-resources": Unavailable,
    "deadline-exceeded": DeadlineExceeded,
    "explanation-too-slow": DeadlineExceeded,
    "route-too-slow": DeadlineExceeded,
    "backend-failed": ServerFailed,
    "internal": ServerFailed,
}
# For problem types of a later release, and for a proxy that answers an HTTP status without a problem.
_STATUS: Mapping[int, type[ClientError]] = {
    401: KeyRefused,
    408: DeadlineExceeded,
    413: BadImage,
    429: Busy,
    502: Unavailable,
    503: Unavailable,
    504: DeadlineExceeded,
}


def document(answer: Received, url: str) -> dict[str, Any]:
    """Return the body of an answer, parsed as a JSON object.

    Raises:
        UnreadableAnswer: the body is not a JSON object.
    """
    try:
        found = json.loads(answer.body)
    except ValueError as error:
        raise UnreadableAnswer(url, "it is not JSON, so it does not come from the service") from error
    if not isinstance(found, dict):
        raise UnreadableAnswer(url, "it is not a JSON object, so it does not come from the service")
    return found


def to_error(answer: Received, url: str, timeout_s: float) -> ClientError:
    """Return the error for an answer whose HTTP status is not 200.

    Args:
        answer: the answer of the service, or of a proxy in front of it.
        url: URL of the service.
        timeout_s: time limit of the call, in seconds.
    """
    try:
        problem = document(answer, url)
    except UnreadableAnswer:
        problem = {}
    if 300 <= answer.status < 400:
        return UnreadableAnswer(url, f"the server redirects to {answer.headers.get('Location', 'nowhere')}")
    slug = str(problem.get("type", "")).removeprefix(_TYPE_PREFIX)
    sentence = str(problem.get("detail") or f"{url} answers with HTTP status {answer.status}")
    if slug == "not-found":  # the path is unknown; an unknown model has the type unknown-model
        return UnreadableAnswer(url, "the server has no address /detect")
    kind = PROBLEMS.get(slug) or _STATUS.get(answer.status) or _by_hundreds(answer.status)
    if kind is DeadlineExceeded:
        return DeadlineExceeded(timeout_s, sentence if slug == "body-timeout" else None)
    if kind is BadParameter:
        return BadParameter(_parameter(problem), sentence)
    if issubclass(kind, Busy | Unavailable):
        return kind(sentence, _retry_after_s(answer))
    return kind(f"{sentence} ({_HOW})" if answer.status == _UNAUTHORIZED else sentence)


def _by_hundreds(status: int) -> type[ClientError]:
    return Refused if 400 <= status < 500 else ServerFailed


def _parameter(problem: Mapping[str, Any]) -> str:
    try:
        return str(problem["errors"][0]["parameter"])
    except (KeyError, IndexError, TypeError):
        return "backend"  # only the problem backend-not-offered does not name its parameter


def _retry_after_s(answer: Received) -> float | None:
    value = answer.headers.get("Retry-After", "")
    return float(value) if value.isascii() and value.isdigit() else None  # the service never sends a date
