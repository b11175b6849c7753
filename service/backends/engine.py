"""Define the interface between a backend of this process and the engine that loads and runs its graphs."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from service.backends.contract import Tensors
from service.types import RawOutputs


class Graph(Protocol):
    """A graph that is ready to run, from several threads at once."""

    @property
    def streams(self) -> int:
        """Return how many runs the engine computes at the same time."""
        ...

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> RawOutputs:
        """Run the graph in the calling thread; return the outputs by their names.

        Raises:
            BackendFailed: the engine refused the input.
        """
        ...


Load = Callable[[], Graph]
"""A function that makes a graph ready to run; it raises ArtifactBroken if the engine cannot do this."""


class Engine(Protocol):
    """An engine with its settings."""

    def read(self, path: Path, tensors: Tensors, *, in_f32: bool = False) -> Load:
        """Read a graph from its file, and check its inputs and outputs; return the function that loads it.

        After this call, the file may change: the function does not read it again.

        Args:
            path: the graph's file.
            tensors: its inputs and outputs.
            in_f32: whether the graph computes in float32, whatever the precision of the artifact is.

        Raises:
            ArtifactBroken: the engine cannot read the graph, or an input or output differs from `tensors`.
        """
        ...
