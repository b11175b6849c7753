"""What passes between the stages: frozen types that refuse to be built wrong."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

RawOutputs = Mapping[str, NDArray[Any]]
"""The outputs of a graph by the names in the manifest."""


@dataclass(frozen=True)
class Candidates:
    """Boxes before NMS, on the model's canvas: the N best (anchor, class) pairs, best first."""

    boxes_xyxy: NDArray[np.float32]  # (N, 4)  canvas pixels
    scores: NDArray[np.float32]  # (N,)  0..1
    class_ids: NDArray[np.int64]  # (N,)

    def __post_init__(self) -> None:
        n = len(self.scores)
        if self.boxes_xyxy.shape != (n, 4) or self.class_ids.shape != (n,):
            raise ValueError(f"{self.boxes_xyxy.shape=} {self.class_ids.shape=} do not fit {n=}")


@dataclass(frozen=True)
class ExpertActivation:
    """What one mixture layer decided for one image."""

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
    """What one image cost, in units of 1e9 operations."""

    used_gflops: float
    dense_gflops: float  # what it would have cost with every expert computed


@dataclass(frozen=True)
class Timings:
    """Seconds spent in each stage by one image."""

    decode_s: float
    queue_s: float
    preprocess_s: float
    infer_s: float
    postprocess_s: float
    total_s: float
