"""Define the frozen types that the stages pass to each other; their constructors check shapes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

RawOutputs = Mapping[str, NDArray[Any]]
"""The outputs of a graph, by their names in the manifest."""


@dataclass(frozen=True)
class Candidates:
    """Boxes before non-maximum suppression: the N best (anchor, class) pairs of one image, best first."""

    boxes_xyxy: NDArray[np.float32]  # (N, 4)  pixels of the model input
    scores: NDArray[np.float32]  # (N,)  0..1
    class_ids: NDArray[np.int64]  # (N,)

    def __post_init__(self) -> None:
        _check_rows(self.boxes_xyxy, self.scores, self.class_ids)


@dataclass(frozen=True)
class Detections:
    """The N detections in one image, highest score first, in pixels of the source image."""

    boxes_xyxy: NDArray[np.float32]  # (N, 4)
    scores: NDArray[np.float32]  # (N,)  0..1
    class_ids: NDArray[np.int64]  # (N,)

    def __post_init__(self) -> None:
        _check_rows(self.boxes_xyxy, self.scores, self.class_ids)

    def __len__(self) -> int:
        """Return N, the number of rows."""
        return len(self.scores)


@dataclass(frozen=True)
class Classes:
    """The N most probable classes of one image, highest score first."""

    class_ids: NDArray[np.int64]  # (N,)
    scores: NDArray[np.float32]  # (N,)  0..1

    def __post_init__(self) -> None:
        if self.class_ids.shape != self.scores.shape or self.scores.ndim != 1:
            raise ValueError(f"{self.class_ids.shape=} {self.scores.shape=} do not fit each other")

    def __len__(self) -> int:
        """Return N, the number of rows."""
        return len(self.scores)


Result = Detections | Classes
"""The result of a task for one image."""


@dataclass(frozen=True)
class ExpertActivation:
    """The experts that one mixture layer chose for one image."""

    layer: str
    num_experts: int
    active: tuple[int, ...]  # ids of the chosen experts, ascending
    weights: tuple[float, ...]  # of the chosen experts, in the order of `active`; sum to 1 if there is one
    probabilities: tuple[float, ...]  # of all experts, as the router saw them; sum to 1
    entropy_bits: float  # of the probabilities: 0 = certain, log2(num_experts) = no idea

    def __post_init__(self) -> None:
        if len(self.active) != len(self.weights) or len(self.probabilities) != self.num_experts:
            raise ValueError(f"{self.active=} {self.weights=} {self.probabilities=} do not fit each other")


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


def _check_rows(boxes_xyxy: NDArray[Any], scores: NDArray[Any], class_ids: NDArray[Any]) -> None:
    n = len(scores)
    if boxes_xyxy.shape != (n, 4) or class_ids.shape != (n,):
        raise ValueError(f"{boxes_xyxy.shape=} {class_ids.shape=} do not fit {n=}")
