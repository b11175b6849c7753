"""What a detection answers: frozen types that refuse to be built wrong."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ModelRef:
    """Which model answered."""

    name: str
    version: str
    sha256: str  # of the model's manifest, which holds that of every file
    backend: str
    precision: str


@dataclass(frozen=True)
class Detection:
    """One object."""

    box_xyxy: tuple[float, float, float, float]  # source pixels
    score: float  # 0..1
    class_name: str
    class_id: int


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


@dataclass(frozen=True, kw_only=True, eq=False)
class Detections:
    """Everything that is known about one image. Iterate for one detection after the other, best first."""

    model: ModelRef
    image_hw: tuple[int, int]  # of the upright image, pixels
    boxes_xyxy: NDArray[np.float32]  # (N, 4)  source pixels, inside the image
    scores: NDArray[np.float32]  # (N,)  0..1, highest first
    class_ids: NDArray[np.int64]  # (N,)
    class_names: tuple[str, ...]  # N, one for each detection
    experts: tuple[ExpertActivation, ...]  # one for each mixture layer
    top_k: int | None  # experts per layer that were asked for; None if the model has no choice
    routing: str  # normal, or static: routers that do not depend on the image

    def __post_init__(self) -> None:
        n = len(self.scores)
        if self.boxes_xyxy.shape != (n, 4) or self.class_ids.shape != (n,) or len(self.class_names) != n:
            raise ValueError(
                f"{self.boxes_xyxy.shape=} {self.class_ids.shape=} {self.class_names=} do not fit {n=}"
            )

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Detection]:
        rows = zip(
            self.boxes_xyxy.astype(float).tolist(),
            self.scores.astype(float).tolist(),
            self.class_names,
            self.class_ids.tolist(),
            strict=True,
        )
        for (left, top, right, bottom), score, class_name, class_id in rows:
            yield Detection((left, top, right, bottom), score, class_name, class_id)

    def to_dict(self) -> dict[str, Any]:
        """Describe the answer with the keys, units and rounding of the service's `POST /detect?moe=full`.

        So it can be given to whatever reads those answers. Left out is what only the service knows: the
        request's id, timings, GFLOPs and warnings.
        """
        height, width = self.image_hw
        model = self.model
        return {
            "model": {
                "name": model.name,
                "version": model.version,
                "sha256": model.sha256,
                "backend": model.backend,
                "precision": model.precision,
            },
            "image": {"width": width, "height": height},
            "predictions": [_prediction(detection) for detection in self],
            "moe": {
                "layers": [_layer(layer) for layer in self.experts],
                "top_k": self.top_k,
                "routing": self.routing,
            },
        }

    def to_json(self) -> str:
        """Return `to_dict` as one line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False)


def _prediction(detection: Detection) -> dict[str, Any]:
    left, top, right, bottom = detection.box_xyxy
    return {
        "x": round((left + right) / 2, 3),
        "y": round((top + bottom) / 2, 3),
        "width": round(right - left, 3),
        "height": round(bottom - top, 3),
        "class": detection.class_name,
        "class_id": detection.class_id,
        "confidence": round(detection.score, 6),
    }


def _layer(layer: ExpertActivation) -> dict[str, Any]:
    return {
        "layer": layer.layer,
        "experts": layer.num_experts,
        "active": list(layer.active),
        "weights": [round(weight, 6) for weight in layer.weights],
        "entropy_bits": round(layer.entropy_bits, 6),
        "probabilities": [round(probability, 6) for probability in layer.probabilities],
    }
