"""What every answer has, whatever the task: frozen types that refuse to be built wrong."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypedDict


@dataclass(frozen=True)
class ModelRef:
    """Which model answered."""

    name: str
    version: str
    sha256: str  # of the model's manifest, which holds that of every file
    backend: str
    precision: str


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

    def to_dict(self) -> dict[str, Any]:
        """Describe the layer with the keys and the rounding of the service."""
        return {
            "layer": self.layer,
            "experts": self.num_experts,
            "active": list(self.active),
            "weights": [round(weight, 6) for weight in self.weights],
            "entropy_bits": round(self.entropy_bits, 6),
            "probabilities": [round(probability, 6) for probability in self.probabilities],
        }


@dataclass(frozen=True)
class ServiceFacts:
    """What only the service tells about an answer; Triton does not know it."""

    id: str  # of the request, as in the service's log
    backend_reason: str  # why this backend answered
    timing_ms: Mapping[str, float]
    warnings: tuple[str, ...]
    used_gflops: float  # for this image
    dense_gflops: float  # with every expert computed
    degraded: bool


class Common(TypedDict):
    """The fields that every answer has; see Answer."""

    model: ModelRef
    image_hw: tuple[int, int]
    experts: tuple[ExpertActivation, ...]
    top_k: int | None
    routing: str
    service: ServiceFacts | None


class Layout(NamedTuple):
    """What a task found, as it is laid out for people."""

    told: str  # a few words on all of it
    headers: tuple[str, ...]
    formats: tuple[str, ...]  # of numbers, one for each column
    rows: list[tuple[object, ...]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer(ABC):
    """Everything that is known about one image, but for what the task found in it."""

    model: ModelRef
    image_hw: tuple[int, int]  # of the upright image, pixels
    experts: tuple[ExpertActivation, ...]  # one for each mixture layer
    top_k: int | None  # experts per layer that were asked for; None if the model has no choice
    routing: str  # normal, or static: routers that do not depend on the image
    service: ServiceFacts | None = None  # None: the answer comes straight from Triton

    @abstractmethod
    def predictions(self) -> list[dict[str, Any]]:
        """Describe what the task found, as the service does."""

    @abstractmethod
    def layout(self) -> Layout:
        """Lay out what the task found, for people."""

    def to_dict(self) -> dict[str, Any]:
        """Describe the answer with the keys, units and rounding of the service's `POST /detect?moe=full`.

        So it can be given to whatever reads those answers. What only the service knows (the request's id,
        timings, GFLOPs, warnings) is left out where the answer comes straight from Triton.
        """
        height, width = self.image_hw
        model = {name: getattr(self.model, name) for name in ("name", "version", "sha256", "backend")}
        moe: dict[str, Any] = {"layers": [layer.to_dict() for layer in self.experts], "top_k": self.top_k}
        told: dict[str, Any] = {}
        if self.service is not None:
            told["id"] = self.service.id
            model["backend_reason"] = self.service.backend_reason
            moe["gflops"] = {"used": self.service.used_gflops, "dense": self.service.dense_gflops}
            moe["degraded"] = self.service.degraded
        told |= {
            "model": model | {"precision": self.model.precision},
            "image": {"width": width, "height": height},
            "predictions": self.predictions(),
            "moe": moe | {"routing": self.routing},
        }
        if self.service is not None:
            told |= {"timing_ms": dict(self.service.timing_ms), "warnings": list(self.service.warnings)}
        return told

    def to_json(self) -> str:
        """Return `to_dict` as one line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False)
