"""The seam to the network: two questions that a Triton server answers, within a time limit."""

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
"""NumPy's names to the protocol's, for the types that a manifest may name."""


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

    Every call raises a ClientError, and nothing else, when there is no answer.
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
