"""The form of an exported graph: what it does beyond the network itself."""

from dataclasses import dataclass
from typing import Literal

import torch

from training.config import ModelConfig
from training.models.mixture.dispatch import Conditional, Gathered
from training.models.mixture.layer import Dispatch

TargetName = Literal["openvino", "onnx", "npu", "tensorrt"]
Execution = Literal["sparse", "dense"]
Selection = Literal["graph", "service"]
Branches = Literal["best", "per_expert"]
Ports = Literal["f32", "bf16"]


@dataclass(frozen=True)
class GraphSpec:
    """What an exported graph does beyond the network itself."""

    execution: Execution  # sparse: experts that are not chosen are not computed
    selection: Selection  # service: every anchor is returned, for targets that cannot gather by data
    candidates: int = 1000
    max_batch: int = 1  # more than 1: any number of images up to this, each with its own top_k
    fixed_batch: int | None = None  # sparse without branches: so many images, at most the default top_k
    branches: Branches = "best"  # of a sparse graph; per_expert: for tools that cannot follow nested ones
    exactly: int | None = None  # sparse: the only top_k, without a threshold, that this graph is right for
    ports: Ports = "f32"  # of maps that cross a branch; bf16 where the engine computes in it

    def __post_init__(self) -> None:
        if self.fixed_batch is not None and (self.execution == "dense" or self.max_batch > 1):
            raise ValueError("a fixed batch is for sparse execution, and no other batch stands beside it")

    @property
    def batches(self) -> range:
        """Numbers of images that one run may take."""
        if self.fixed_batch is not None:
            return range(self.fixed_batch, self.fixed_batch + 1)
        return range(1, self.max_batch + 1)

    def top_ks(self, config: ModelConfig) -> range:
        """Return what callers may ask for; gathered weights have room for no more than the default."""
        every = config.allowed_top_k
        return every if self.fixed_batch is None else range(every[0], config.top_k + 1)

    def dispatch(self, config: ModelConfig) -> Dispatch:
        """Return how the traced network runs its experts."""
        if self.execution == "dense":
            return "dense"
        if self.fixed_batch is not None:
            return Gathered(config.top_k)
        return Conditional(self.exactly, torch.bfloat16 if self.ports == "bf16" else torch.float32)
