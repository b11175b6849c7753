"""Define the parts of an answer that do not depend on the task, as frozen types."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypedDict


@dataclass(frozen=True)
class ModelRef:
    """The model version and the backend that answered."""

    name: str
    version: str
    sha256: str  # sha256 of the model's manifest, which contains the sha256 of every other file
    backend: str
    precision: str


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

    def to_dict(self) -> dict[str, Any]:
        """Return the layer as a dict with the keys and the rounding of the service's answer."""
        return {
            "layer": self.layer,
            "experts": self.num_experts,
            "active": list(self.active),
            "weights": [round(weight, 6) for weight in self.weights],
            "entropy_bits": round(self.entropy_bits, 6),
            "probabilities": [round(probability, 6) for probability in self.probabilities],
        }


@dataclass(frozen=True)
class PathTaken:
    """The path that a model with paths chose for one image, before anything else ran."""

    index: int  # from 0
    probability: float  # the router's probability for this path

    def to_dict(self) -> dict[str, Any]:
        """Return the path as a dict with the keys and the rounding of the service's answer."""
        return {"index": self.index, "probability": round(self.probability, 6)}


@dataclass(frozen=True)
class ServiceFacts:
    """The facts about an answer that only the service reports, and not Triton."""

    id: str  # id of the request, also in the service's log
    backend_reason: str  # preferred, requested, or why a preferred backend did not answer
    timing_ms: Mapping[str, float]
    warnings: tuple[str, ...]
    used_gflops: float  # compute for this image, in 1e9 operations
    dense_gflops: float  # compute if every expert had run
    degraded: bool  # whether the service lowered top_k under load


class Common(TypedDict):
    """The fields of an answer that do not depend on the task; the class Answer documents each field."""

    model: ModelRef
    image_hw: tuple[int, int]
    experts: tuple[ExpertActivation, ...]
    top_k: int | None
    routing: str
    service: ServiceFacts | None
    path: PathTaken | None


class Layout(NamedTuple):
    """The content of a text table that shows the predictions for one image."""

    summary: str  # a few words about all predictions
    headers: tuple[str, ...]
    formats: tuple[str, ...]  # format of the numbers in each column
    rows: list[tuple[object, ...]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer(ABC):
    """The answer for one image; a subclass for each task adds the predictions."""

    model: ModelRef
    image_hw: tuple[int, int]  # of the upright image, pixels
    experts: tuple[ExpertActivation, ...]  # one entry for each mixture layer
    top_k: int | None  # the value that was used; None if the model has no such control
    routing: str  # normal, or static: the routers choose the same experts for every image
    service: ServiceFacts | None = None  # None if Triton answered directly
    path: PathTaken | None = None  # None: the model has no paths

    @abstractmethod
    def predictions(self) -> list[dict[str, Any]]:
        """Return the predictions as dicts with the keys and the rounding of the service's answer."""

    @abstractmethod
    def layout(self) -> Layout:
        """Return the content of a text table with the predictions."""

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as a dict with the keys, units and rounding of `POST /detect?moe=full`.

        A program that reads the service's answers can therefore read this dict. If the client called
        Triton without the service, the dict lacks the facts that only the service reports: request id,
        timings, GFLOPs and warnings.
        """
        height, width = self.image_hw
        model = {name: getattr(self.model, name) for name in ("name", "version", "sha256", "backend")}
        moe: dict[str, Any] = {"layers": [layer.to_dict() for layer in self.experts], "top_k": self.top_k}
        if self.path is not None:
            moe["path"] = self.path.to_dict()
        answer: dict[str, Any] = {}
        if self.service is not None:
            answer["id"] = self.service.id
            model["backend_reason"] = self.service.backend_reason
            moe["gflops"] = {"used": self.service.used_gflops, "dense": self.service.dense_gflops}
            moe["degraded"] = self.service.degraded
        answer |= {
            "model": model | {"precision": self.model.precision},
            "image": {"width": width, "height": height},
            "predictions": self.predictions(),
            "moe": moe | {"routing": self.routing},
        }
        if self.service is not None:
            answer |= {"timing_ms": dict(self.service.timing_ms), "warnings": list(self.service.warnings)}
        return answer

    def to_json(self) -> str:
        """Return the dict of `to_dict` as one line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False)
