"""Define the frozen types that the stages pass to each other; their constructors check shapes."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

DriftTest = Literal["mean", "sets", "novelty", "dead", "nan"]
"""What differs from the baseline: the routers' mean probabilities, the chosen sets of experts, or the
distance to the baseline's images. `dead`: an expert is not chosen any more. `nan`: a router gave NaN."""

RawOutputs = Mapping[str, NDArray[Any]]
"""The outputs of a graph, by their names in the manifest."""


@dataclass(frozen=True)
class Candidates:
    """Boxes before non-maximum suppression: the N best (anchor, class) pairs of one image, best first."""

    boxes_xyxy: NDArray[np.float32]  # (N, 4)  pixels of the model input
    scores: NDArray[np.float32]  # (N,)  0..1
    class_ids: NDArray[np.int64]  # (N,)
    angles: NDArray[np.floating] | None = None  # (N,) radians, clockwise; None: the boxes are not rotated

    def __post_init__(self) -> None:
        n = len(self.scores)
        if self.boxes_xyxy.shape != (n, 4) or self.class_ids.shape != (n,):
            raise ValueError(f"{self.boxes_xyxy.shape=} {self.class_ids.shape=} do not fit {n=}")
        if self.angles is not None and self.angles.shape != (n,):
            raise ValueError(f"{self.angles.shape=} does not fit {n=}")

    def take(self, rows: NDArray[np.int64]) -> Self:
        """Return the boxes of some rows, in the order of the rows."""
        angles = None if self.angles is None else self.angles[rows]
        return type(self)(self.boxes_xyxy[rows], self.scores[rows], self.class_ids[rows], angles)


@dataclass(frozen=True)
class ExpertActivation:
    """The experts that one mixture layer chose for one image."""

    layer: str
    num_experts: int
    active: tuple[int, ...]  # ids of the chosen experts, ascending
    weights: tuple[float, ...]  # of the chosen experts, in the order of `active`; sum to 1 unless empty
    probabilities: tuple[float, ...]  # the router's probability for each expert; sum to 1
    entropy_bits: float  # of the probabilities: 0 if certain, log2(num_experts) if all are equal

    def __post_init__(self) -> None:
        if len(self.active) != len(self.weights) or len(self.probabilities) != self.num_experts:
            raise ValueError(f"{self.active=} {self.weights=} {self.probabilities=} do not fit each other")


@dataclass(frozen=True)
class PathChoice:
    """The path that a model with paths chose for one image, before anything else ran."""

    index: int
    probabilities: tuple[float, ...]  # the router's probability for each path; sum to 1

    @property
    def probability(self) -> float:
        """Return the probability of the chosen path."""
        return self.probabilities[self.index]


@dataclass(frozen=True)
class Compute:
    """The compute for one image, in units of 1e9 operations."""

    used_gflops: float
    dense_gflops: float  # the compute if every expert had run


@dataclass(frozen=True)
class Timings:
    """The seconds that one image spent in each stage."""

    decode_s: float
    queue_s: float
    preprocess_s: float
    infer_s: float
    postprocess_s: float
    total_s: float
    router_s: float | None = None  # of a model with paths, the choice of the path; not in infer_s


@dataclass(frozen=True)
class RoutingVerdict:
    """Whether the images that a version answers are routed as in its baseline."""

    state: Literal["normal", "drifting", "static"]
    layer: str | None = None  # that shows the drift; "path" if only the layers together show it
    test: DriftTest | None = None
    since: datetime | None = None  # of the drift
