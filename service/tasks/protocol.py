"""Define the interface of a task: the post-processing that depends on what a model predicts."""

from collections.abc import Sequence
from typing import Any, Literal, Protocol, TypeVar

from service.artifact.golden import Golden
from service.pipeline.preprocess import Placed
from service.request import ResolvedParams
from service.types import RawOutputs

R = TypeVar("R")


class Task(Protocol[R]):
    """The post-processing of one model; R is the type of its result for one image."""

    drawn_as: Literal["boxes", "labels"]
    """How a page shows the predictions: boxes on the image, or labels beside it."""

    def read(self, outputs: RawOutputs, params: ResolvedParams, placed: Placed) -> R:
        """Return the result for one image, read from the graph's outputs.

        Args:
            outputs: the graph's outputs by name, for a batch of one image.
            params: the resolved parameters of the request.
            placed: the image in the model input, and its position there.
        """
        ...

    def count(self, result: R) -> int:
        """Return the number of detected objects, for the metrics; 0 for a task without objects."""
        ...

    def describe(self, result: R) -> Sequence[Any]:
        """Return the predictions for the HTTP answer, best first, as pydantic models of one class."""
        ...

    def compare(self, result: R, golden: Golden) -> None:
        """Compare the result for the golden image with the predictions in the golden sample.

        Raises:
            ArtifactBroken: the sample has no predictions for this task.
            ArtifactMismatch: a prediction differs; the message says which one and by how much.
        """
        ...
