"""What Triton's gRPC statuses mean to a caller: one table, read from the top, first match.

The gateway reads them by the same rows.
"""

from enum import Enum, auto

from .errors import (
    Busy,
    ClientError,
    DeadlineExceeded,
    NotServed,
    Refused,
    ServerFailed,
    Unreachable,
)


class Meaning(Enum):
    """What a status says about the request and about the server."""

    BUSY = auto()  # well, and full
    NOT_RUN = auto()  # this version is not loaded; nothing was done
    LOST = auto()  # no connection, or the process that runs the model is dead
    UNWELL = auto()  # it answers, and cannot run the model
    FORGOT = auto()  # shared memory that the server does not know; clients use none
    LATE = auto()  # the deadline passed
    REFUSED = auto()  # this input; sending it again will not help


# Status, words in the message in lower case (none: any message), meaning. The words are those of Triton 2.51
# and of gRPC, seen on the server; a status that is not here is UNWELL.
TABLE: tuple[tuple[str, str, Meaning], ...] = (
    ("UNAVAILABLE", "exceeds maximum queue size", Meaning.BUSY),
    ("UNAVAILABLE", "request timeout expired", Meaning.BUSY),
    ("UNAVAILABLE", "is not at ready state", Meaning.NOT_RUN),
    ("UNAVAILABLE", "", Meaning.LOST),
    ("NOT_FOUND", "shared memory region", Meaning.FORGOT),
    ("NOT_FOUND", "", Meaning.NOT_RUN),
    ("DEADLINE_EXCEEDED", "", Meaning.LATE),
    ("INTERNAL", "is not healthy", Meaning.LOST),  # said a second after the process died; "ready" stays true
    ("INTERNAL", "", Meaning.UNWELL),
    ("UNKNOWN", "", Meaning.UNWELL),
    ("ABORTED", "", Meaning.UNWELL),
    ("CANCELLED", "", Meaning.UNWELL),  # by the server; our own cancellation never comes here
    ("UNAUTHENTICATED", "", Meaning.UNWELL),
    ("PERMISSION_DENIED", "", Meaning.UNWELL),
    ("INVALID_ARGUMENT", "", Meaning.REFUSED),
    ("OUT_OF_RANGE", "", Meaning.REFUSED),
    ("FAILED_PRECONDITION", "", Meaning.REFUSED),
    ("UNIMPLEMENTED", "", Meaning.REFUSED),
    ("RESOURCE_EXHAUSTED", "larger than max", Meaning.REFUSED),  # gRPC's limit of a message
    ("RESOURCE_EXHAUSTED", "metadata size exceeds", Meaning.REFUSED),  # gRPC's limit of the headers
    ("RESOURCE_EXHAUSTED", "", Meaning.BUSY),  # a quota, of a proxy for example: Triton itself never says it
)


def meaning_of(status: str, message: str) -> Meaning:
    """Look a status up, `UNAVAILABLE` for example, with the server's message."""
    words = message.lower()
    return next((meaning for row, part, meaning in TABLE if row == status and part in words), Meaning.UNWELL)


def to_error(status: str, message: str, *, url: str, model: str, timeout_s: float) -> ClientError:
    """Return what a status means for a caller.

    Args:
        status: gRPC's name of it, for example NOT_FOUND.
        message: what the server, or the library, said.
        url: of the server.
        model: that was asked for.
        timeout_s: that was given.
    """
    reason = message.strip().rstrip(".") or status
    error: ClientError
    match meaning_of(status, message):
        case Meaning.BUSY:
            error = Busy(f"Triton has more work than it can queue ({reason}); send it again later, or slower")
        case Meaning.LATE:
            error = DeadlineExceeded(timeout_s)
        case Meaning.NOT_RUN:
            error = NotServed(
                f"Triton does not serve {model} ({reason}); check model and target, and that it is loaded"
            )
        case Meaning.LOST if status == "UNAVAILABLE":
            error = unreachable(url, reason)
        case Meaning.REFUSED:
            error = _refused(reason)
        case Meaning.UNWELL if status in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
            error = _refused(reason)  # to the gateway a server that is not for it, to a caller an answer
        case _:
            error = ServerFailed(
                f"Triton failed: {reason}; its log says more, and loading the model again may help"
            )
    return error


def unreachable(url: str, reason: str) -> Unreachable:
    """Return the error for a server to which there is no connection."""
    return Unreachable(
        f"cannot reach Triton at {url}: {reason}; check that it runs, that this is the port of the"
        " protocol in use (usually 8001 for grpc, 8000 for http), and that tls is on if the server has it"
    )


def _refused(reason: str) -> Refused:
    return Refused(f"Triton refuses the request: {reason}; check that it loaded what this project exported")
