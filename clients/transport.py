"""Define the interface to a Triton server, which reads a model's parameters and runs a model."""

import math
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any, Protocol

from numpy.typing import NDArray

from .errors import BadParameter, DeadlineExceeded

DATATYPES = {
    "uint8": "UINT8",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "bool": "BOOL",
}
"""Triton's datatype for each NumPy dtype name, for the dtypes that a manifest may contain."""


_NEAR_S = 0.05  # by which a server's clock may end a wait earlier


class Deadline:
    """The time by which a call must end; all requests that the call sends share this limit.

    Args:
        timeout_s: time limit in seconds, from now.

    Raises:
        BadParameter: the time limit is not a finite number above 0.
    """

    def __init__(self, timeout_s: float) -> None:
        if not 0 < timeout_s < math.inf:
            raise BadParameter("timeout_s", f"timeout_s={timeout_s!r} cannot be used; give seconds above 0")
        self.timeout_s = timeout_s
        self._end = monotonic() + timeout_s

    @property
    def is_near(self) -> bool:
        """Return whether the deadline has passed, or is so near that a server may count it as passed."""
        return monotonic() > self._end - _NEAR_S

    def left_s(self) -> float:
        """Return the seconds until the deadline, which are always more than 0.

        Raises:
            DeadlineExceeded: the deadline has passed.
        """
        left_s = self._end - monotonic()
        if left_s <= 0:
            raise DeadlineExceeded(self.timeout_s)
        return left_s


class Transport(Protocol):
    """A connection to one Triton server over one protocol. Several threads may share it.

    A method that gets no answer raises a ClientError, and no other exception.
    """

    def parameters(self, model: str, deadline: Deadline) -> Mapping[str, str]:
        """Return the parameters in Triton's configuration of a model, by name."""

    def infer(
        self,
        model: str,
        inputs: Mapping[str, NDArray[Any]],
        outputs: Sequence[str],
        deadline: Deadline,
        parameters: Mapping[str, int],
    ) -> Mapping[str, NDArray[Any]]:
        """Run a model; return, by name, the outputs in `outputs` that the server's answer contains.

        `parameters` are named values besides the tensors. An output of text is an array of bytes.
        """

    def close(self) -> None:
        """Close the connections."""


class AsyncTransport(Protocol):
    """A connection to one Triton server over one protocol, for use in one event loop; see Transport."""

    async def parameters(self, model: str, deadline: Deadline) -> Mapping[str, str]:
        """Return the parameters in Triton's configuration of a model, by name."""

    async def infer(
        self,
        model: str,
        inputs: Mapping[str, NDArray[Any]],
        outputs: Sequence[str],
        deadline: Deadline,
        parameters: Mapping[str, int],
    ) -> Mapping[str, NDArray[Any]]:
        """Run a model; return, by name, the outputs in `outputs` that the server's answer contains.

        `parameters` are named values besides the tensors. An output of text is an array of bytes.
        """

    async def close(self) -> None:
        """Close the connections."""
