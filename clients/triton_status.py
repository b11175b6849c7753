"""Turn Triton's gRPC statuses into the errors of this package; the first matching row of TABLE applies.

The service has a table with the same rows.
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
    """What a gRPC status means for the request and the server, such as a full queue or a lost connection."""

    BUSY = auto()  # the server is healthy, but its queue is full
    NOT_RUN = auto()  # this version is not loaded, so the request was not run
    LOST = auto()  # there is no connection, or the process that runs the model is dead
    UNWELL = auto()  # the server answers, but cannot run the model
    FORGOT = auto()  # the server does not know a shared memory region; this client uses none
    LATE = auto()  # the deadline passed
    REFUSED = auto()  # the server refuses this input; the same input would be refused again


# Each row: the status, words that the lower-case message contains (empty: any message), and the meaning. The
# words were observed on a Triton 2.51 server and in gRPC. A status without a row means UNWELL.
TABLE: tuple[tuple[str, str, Meaning], ...] = (
    ("UNAVAILABLE", "exceeds maximum queue size", Meaning.BUSY),
    ("UNAVAILABLE", "request timeout expired", Meaning.BUSY),
    ("UNAVAILABLE", "is not at ready state", Meaning.NOT_RUN),
    ("UNAVAILABLE", "", Meaning.LOST),
    ("NOT_FOUND", "shared memory region", Meaning.FORGOT),
    ("NOT_FOUND", "", Meaning.NOT_RUN),
    ("DEADLINE_EXCEEDED", "", Meaning.LATE),
    # Triton answers this if the model's process has died, and still reports the model as ready.
    ("INTERNAL", "is not healthy", Meaning.LOST),
    ("INTERNAL", "", Meaning.UNWELL),
    ("UNKNOWN", "", Meaning.UNWELL),
    ("ABORTED", "", Meaning.UNWELL),
    ("CANCELLED", "", Meaning.UNWELL),  # cancelled by the server, not by this client
    ("UNAUTHENTICATED", "", Meaning.UNWELL),
    ("PERMISSION_DENIED", "", Meaning.UNWELL),
    ("INVALID_ARGUMENT", "", Meaning.REFUSED),
    ("OUT_OF_RANGE", "", Meaning.REFUSED),
    ("FAILED_PRECONDITION", "", Meaning.REFUSED),
    ("UNIMPLEMENTED", "", Meaning.REFUSED),
    ("RESOURCE_EXHAUSTED", "larger than max", Meaning.REFUSED),  # gRPC's limit for a message
    ("RESOURCE_EXHAUSTED", "metadata size exceeds", Meaning.REFUSED),  # gRPC's limit for the headers
    ("RESOURCE_EXHAUSTED", "", Meaning.BUSY),  # a quota of a proxy; Triton does not use it
)


def meaning_of(status: str, message: str) -> Meaning:
    """Return the meaning of a gRPC status, such as `UNAVAILABLE`; it also depends on the server's message."""
    words = message.lower()
    return next((meaning for row, part, meaning in TABLE if row == status and part in words), Meaning.UNWELL)


def to_error(
    status: str, message: str, *, url: str, model: str, timeout_s: float, late: bool = False
) -> ClientError:
    """Return the error for a gRPC status.

    Args:
        status: gRPC's name of the status, for example NOT_FOUND.
        message: message of the server or of the client library.
        url: address of the server.
        model: name of the requested model.
        timeout_s: time limit of the call, in seconds.
        late: whether the time limit has passed or nearly passed, so that it ended a wait in the server's
            queue.
    """
    reason = message.strip().rstrip(".") or status
    error: ClientError
    match meaning_of(status, message):
        case Meaning.BUSY if late and "timeout" in reason.lower():
            error = DeadlineExceeded(timeout_s)
        case Meaning.BUSY:
            error = Busy(f"Triton's queue is full ({reason}); try again later, or send fewer requests")
        case Meaning.LATE:
            error = DeadlineExceeded(timeout_s)
        case Meaning.NOT_RUN:
            error = NotServed(
                f"Triton does not serve {model} ({reason}); check model and target, and load the model"
            )
        case Meaning.LOST if status == "UNAVAILABLE":
            error = unreachable(url, reason)
        case Meaning.REFUSED:
            error = _refused(reason)
        case Meaning.UNWELL if status in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
            error = _refused(reason)  # the service's own table counts this as an unusable server
        case _:
            error = ServerFailed(
                f"Triton failed: {reason}; read Triton's log, and try to load the model again"
            )
    return error


def unreachable(url: str, reason: str) -> Unreachable:
    """Return the error for a server that cannot be reached."""
    return Unreachable(
        f"cannot reach Triton at {url}: {reason}; check that Triton runs, that the port belongs to the"
        " protocol (usually 8001 for grpc, 8000 for http), and that tls is set if Triton uses TLS"
    )


def _refused(reason: str) -> Refused:
    return Refused(f"Triton refuses the request: {reason}; check that this project exported the loaded model")
