"""What Triton's gRPC statuses mean: one table, read from the top, first match."""

from enum import Enum, auto

from service.errors import (
    BackendBusy,
    BackendFailed,
    BackendUnavailable,
    DeadlineExceeded,
    ServiceError,
)


class RegionForgotten(BackendUnavailable):
    """The server does not know the shared memory that a request points to; never leaves the backend."""


class Meaning(Enum):
    """What a status says about the request and about the server."""

    BUSY = auto()  # well, and full
    NOT_RUN = auto()  # this version is not loaded; nothing was done
    LOST = auto()  # no connection, or the process that runs the model is dead: the next would fail as well
    UNWELL = auto()  # it answers, and cannot run the model
    FORGOT = auto()  # the shared memory was registered before the server started again; nothing was done
    LATE = auto()  # the deadline passed
    REFUSED = auto()  # this input; sending it again will not help


# Status, words in the message in lower case (none: any message), meaning. The words are those of
# Triton 2.51, seen on the server; a status that is not here is UNWELL.
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
    """Look a status up, `StatusCode.UNAVAILABLE` or `UNAVAILABLE`, with the server's message."""
    code, words = status.removeprefix("StatusCode."), message.lower()
    return next((meaning for row, part, meaning in TABLE if row == code and part in words), Meaning.UNWELL)


def to_error(status: str, message: str, *, allowed_s: float, own_limit: bool, late: bool) -> ServiceError:
    """Turn a status into an error of ours.

    Args:
        status: as the client library gives it.
        message: the server's.
        allowed_s: how long the call could take.
        own_limit: that is the limit of this service, not a shorter one of the caller.
        late: the deadline has passed, so a queue that gave up did so because of it.
    """
    # Where in its files a model failed is the server's own affair, and stands in its log.
    sentence = " ".join(message.split()).partition(" At: ")[0][:200].rstrip(".") or "no reason given"
    error: ServiceError
    match meaning_of(status, message):
        case Meaning.BUSY:
            error = BackendBusy(f"triton is full: {sentence}")
            if late and "timeout" in sentence.lower():
                error = DeadlineExceeded(allowed_s)
        case Meaning.LATE:
            error = DeadlineExceeded(allowed_s, silent=own_limit)
        case Meaning.REFUSED:
            error = BackendFailed(f"triton refused the input: {sentence}")
        case Meaning.LOST:
            error = BackendUnavailable(f"triton is not answering: {sentence}", lost=True)
        case Meaning.NOT_RUN:
            error = BackendUnavailable(f"triton does not have the model: {sentence}", not_run=True)
        case Meaning.FORGOT:
            error = RegionForgotten(f"triton cannot see the shared memory: {sentence}")
        case Meaning.UNWELL:
            code = status.removeprefix("StatusCode.")
            error = BackendUnavailable(f"triton cannot run the model: {code}: {sentence}")
    return error
