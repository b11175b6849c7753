"""The seam to the network: two questions that a Triton server answers, and what its refusals mean."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

from numpy.typing import NDArray

from clients.errors import (
    BadParameter,
    Busy,
    DeadlineExceeded,
    DetectorError,
    NotServed,
    Refused,
    ServerFailed,
    Unreachable,
)

DATATYPES = {"uint8": "UINT8", "int32": "INT32", "int64": "INT64", "float32": "FP32"}
"""NumPy's names to the protocol's, for the types that an ensemble takes and gives."""

_QUEUE_REFUSALS = ("Exceeds maximum queue size", "Request timeout expired")
_NOT_LOADED = ("is not at ready state", "is not ready", "no available versions")


@dataclass(frozen=True)
class Tls:
    """Files in PEM format.

    Args:
        ca_file: whose certificates to trust; by default those that the system or the library trusts.
        cert_file: what this client shows, if the server asks who it is.
        key_file: of cert_file.
    """

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    def __post_init__(self) -> None:
        if (self.cert_file is None) != (self.key_file is None):
            raise BadParameter("tls", "cert_file and key_file belong together; give both or neither")
        for name in ("ca_file", "cert_file", "key_file"):
            path = getattr(self, name)
            if path is not None and not path.is_file():
                raise BadParameter("tls", f"{name}: there is no file {path}")


class Deadline:
    """When a call must be over.

    Args:
        timeout_s: from now.
    """

    def __init__(self, timeout_s: float) -> None:
        if not 0 < timeout_s < math.inf:
            raise BadParameter("timeout_s", f"timeout_s={timeout_s!r} cannot be used; give seconds above 0")
        self.timeout_s = timeout_s
        self._end = monotonic() + timeout_s

    def left_s(self) -> float:
        """Return what is left, which is more than 0.

        Raises:
            DeadlineExceeded: nothing is.
        """
        left_s = self._end - monotonic()
        if left_s <= 0:
            raise DeadlineExceeded(self.timeout_s)
        return left_s


class Transport(Protocol):
    """Speaks one protocol with one server. Safe to call from several threads.

    Every call raises one of clients.errors, and nothing else, when there is no answer.
    """

    def parameters(self, model: str, deadline: Deadline) -> Mapping[str, str]:
        """Return the parameters of a model's configuration."""

    def infer(
        self, model: str, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str], deadline: Deadline
    ) -> Mapping[str, NDArray[Any]]:
        """Run a model; return those of the wanted outputs that it has."""

    def close(self) -> None:
        """Close the connections."""


class AsyncTransport(Protocol):
    """The same for one event loop."""

    async def parameters(self, model: str, deadline: Deadline) -> Mapping[str, str]:
        """Return the parameters of a model's configuration."""

    async def infer(
        self, model: str, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str], deadline: Deadline
    ) -> Mapping[str, NDArray[Any]]:
        """Run a model; return those of the wanted outputs that it has."""

    async def close(self) -> None:
        """Close the connections."""


def refusal(status: str, text: str, *, url: str, model: str, deadline: Deadline) -> DetectorError:
    """Return what a status means for a caller.

    Args:
        status: gRPC's name of it, for example NOT_FOUND.
        text: what the server, or the library, said.
        url: of the server.
        model: that was asked for.
        deadline: that was given.
    """
    reason = text.strip().rstrip(".") or status
    error: DetectorError
    match status:
        case "DEADLINE_EXCEEDED":
            error = DeadlineExceeded(deadline.timeout_s)
        case "NOT_FOUND":
            error = NotServed(model, reason)
        case "UNAVAILABLE" if any(part in text for part in _NOT_LOADED):
            error = NotServed(model, reason)
        case "UNAVAILABLE" if any(part in text for part in _QUEUE_REFUSALS):
            error = Busy(reason)
        case "RESOURCE_EXHAUSTED":
            error = Busy(reason)
        case "UNAVAILABLE":
            error = Unreachable(url, reason)
        case "INVALID_ARGUMENT" | "UNIMPLEMENTED" | "UNAUTHENTICATED" | "PERMISSION_DENIED":
            error = Refused(reason)
        case _:
            error = ServerFailed(reason)
    return error
