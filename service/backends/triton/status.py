"""Turn Triton's gRPC statuses into errors of this service; the first matching row of a table applies."""

from enum import Enum, auto

from service.errors import (
    BackendBusy,
    BackendFailed,
    BackendUnavailable,
    DeadlineExceeded,
    ServiceError,
)


class RegionForgotten(BackendUnavailable):
    """The server does not know the request's shared memory region; the Triton backend handles this error."""


class Meaning(Enum):
    """The cause of a failed call, such as a full queue, as far as the gRPC status and message show it."""

    BUSY = auto()  # the server is healthy, but its queue is full
    NOT_RUN = auto()  # this version is not loaded, so the request was not run
    LOST = auto()  # no connection, or the model's process is dead: the next request would fail as well
    UNWELL = auto()  # the server answers, but cannot run the model
    FORGOT = auto()  # the server restarted after the region was registered; the request was not run
    LATE = auto()  # the deadline passed
    REFUSED = auto()  # the server refuses this input; the same input would be refused again


# Each row: the status, words that the lower-case message contains (empty: any message), and the meaning. The
# words were observed on a Triton 2.51 server. A status without a row means UNWELL.
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
    ("CANCELLED", "", Meaning.UNWELL),  # cancelled by the server, not by this service
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
    """Return the cause of a failed call, from its gRPC status and the server's message.

    The status is the name of a gRPC status code, with or without the prefix `StatusCode.`.
    """
    code, words = status.removeprefix("StatusCode."), message.lower()
    return next((meaning for row, part, meaning in TABLE if row == code and part in words), Meaning.UNWELL)


def to_error(status: str, message: str, *, allowed_s: float, own_limit: bool, late: bool) -> ServiceError:
    """Return the service's error for a gRPC status.

    Args:
        status: the status, as the client library gives it.
        message: the server's message.
        allowed_s: time limit of the call, in seconds.
        own_limit: True if `allowed_s` is the service's limit; False if the caller asked for a shorter one.
        late: whether the request's deadline has passed. If it has, a timeout in Triton's queue becomes
            DeadlineExceeded instead of BackendBusy.
    """
    # The position in the server's files after " At: " is dropped; the server's log has it.
    sentence = " ".join(message.split()).partition(" At: ")[0][:200].rstrip(".") or "no reason given"
    error: ServiceError
    match meaning_of(status, message):
        case Meaning.BUSY:
            error = BackendBusy(f"triton's queue is full: {sentence}")
            if late and "timeout" in sentence.lower():
                error = DeadlineExceeded(allowed_s)
        case Meaning.LATE:
            error = DeadlineExceeded(allowed_s, silent=own_limit)
        case Meaning.REFUSED:
            error = BackendFailed(f"triton refused the input: {sentence}")
        case Meaning.LOST:
            error = BackendUnavailable(f"triton does not answer: {sentence}", lost=True)
        case Meaning.NOT_RUN:
            error = BackendUnavailable(f"triton does not have the model: {sentence}", not_run=True)
        case Meaning.FORGOT:
            error = RegionForgotten(f"triton cannot use the shared memory: {sentence}")
        case Meaning.UNWELL:
            code = status.removeprefix("StatusCode.")
            error = BackendUnavailable(f"triton cannot run the model: {code}: {sentence}")
    return error
