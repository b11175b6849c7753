"""The seam between serving and what a model is for."""

from collections.abc import Sequence
from typing import Any, Literal, Protocol, TypeVar

from service.artifact.golden import Golden
from service.pipeline.preprocess import Placed
from service.request import ResolvedParams
from service.types import RawOutputs

R = TypeVar("R")


class Task(Protocol[R]):
    """The post-processing of one model; R is what it finds in an image."""

    drawn_as: Literal["boxes", "labels"]
    """How a page shows what was found: on the image, or beside it."""

    def read(self, outputs: RawOutputs, params: ResolvedParams, placed: Placed) -> R:
        """Return what the graph found in one image.

        Args:
            outputs: by name, of a batch of one.
            params: what is asked for.
            placed: where the image is on the canvas.
        """
        ...

    def count(self, result: R) -> int:
        """Return how many objects were found, for the metrics; 0 for a task that finds none."""
        ...

    def describe(self, result: R) -> Sequence[Any]:
        """Return the predictions as they are sent, best first: pydantic models, of one class for a task."""
        ...

    def compare(self, result: R, golden: Golden) -> None:
        """Check what was made of the golden image.

        Raises:
            ArtifactBroken: the sample has no answer for this task.
            ArtifactMismatch: names what differs from it, and by how much.
        """
        ...
