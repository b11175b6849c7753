"""The form of an exported graph: how its experts run, whether it selects candidates, and its batch sizes."""

from collections.abc import Sequence
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


def route_top_ks(config: ModelConfig) -> tuple[int, ...]:
    """Return the top_k values for which each path of a model gets a graph: 1, and the model's default.

    If the experts of a path are averaged, it has one graph, in which all of them take part.
    """
    return tuple(sorted({max(1, config.allowed_top_k[0]), config.top_k}))


@dataclass(frozen=True)
class GraphSpec:
    """How a graph runs its experts, whether it selects candidates, and which batch sizes it takes."""

    execution: Execution  # sparse: only chosen experts are computed
    selection: Selection  # service: the graph returns every anchor, and the service selects
    candidates: int = 1000
    max_batch: int = 1  # above 1: a run takes 1 to max_batch images, each with its own top_k
    fixed_batch: int | None = None  # sparse without branches: exactly this many images
    branches: Branches = "best"  # sparse graphs: per_expert has no bodies for single top_k values
    exactly: int | None = None  # sparse: the graph is valid only for this top_k, without a threshold
    ports: Ports = "f32"  # type of maps that cross a branch; bf16 if the engine computes in bf16

    def __post_init__(self) -> None:
        if self.fixed_batch is not None and (self.execution == "dense" or self.max_batch > 1):
            raise ValueError("a fixed batch is for sparse execution, and max_batch must be 1")

    @property
    def batches(self) -> range:
        """Return the allowed numbers of images in one run."""
        if self.fixed_batch is not None:
            return range(self.fixed_batch, self.fixed_batch + 1)
        return range(1, self.max_batch + 1)

    def top_ks(self, config: ModelConfig) -> Sequence[int]:
        """Return the top_k values that callers may request, in ascending order.

        For a model with paths, they are those that have graphs. A graph with a fixed batch gathers the
        weights of as many experts as the model's default top_k. Such a graph cannot run more experts, so
        top_k values above the default are not allowed.
        """
        if config.paths is not None:
            return route_top_ks(config)
        every = config.allowed_top_k
        return every if self.fixed_batch is None else range(every[0], config.top_k + 1)

    def dispatch(self, config: ModelConfig) -> Dispatch:
        """Return how the traced network runs its experts."""
        if self.execution == "dense":
            return "dense"
        if self.fixed_batch is not None:
            return Gathered(config.top_k)
        return Conditional(self.exactly, torch.bfloat16 if self.ports == "bf16" else torch.float32)
