"""Score how novel an image is, from its path through the experts and its predictions."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from service.artifact.manifest import Manifest
from service.artifact.task_settings import ClassifySettings
from service.request import ResolvedParams
from service.routing.monitor import Ranked
from service.routing.reference import path_of
from service.tasks.choose import Result
from service.tasks.classify import Classes
from service.tasks.detect import Detections

# D contrasts; see service/routing/reference.py

Why = Literal["rare-path", "disagreement", "unsure"]
"""What makes an image novel. `rare-path`: its path is rare, and no prediction is confident. `disagreement`:
its path is rare, although a prediction is confident. `unsure`: its path is not rare, but its score is still
higher than that of most images, mostly because the model is less confident."""

_RARE = 0.95  # rank from which a path is rare
_CONFIDENT = 0.5


@dataclass(frozen=True)
class Novelty:
    """How novel an image is, and what this is computed from."""

    rank: float  # of the routing among the baseline's images, 0..1
    rarity: float  # distance of the routing from the baseline; 95 % of its images have at most 1
    path_share: float  # share of the baseline's images for which the same experts were chosen
    confidence: float | None  # of the best prediction, 0 without one; None: the caller wanted only some
    place: NDArray[np.float32]  # (D,) of the routing, in units of rarity

    @property
    def score(self) -> float:
        """Return the rarity, plus 1 - confidence if the confidence is known."""
        return self.rarity + (0.0 if self.confidence is None else 1 - self.confidence)

    @property
    def why(self) -> Why:
        """Return what makes the image novel."""
        if self.rank < _RARE:
            return "unsure"
        return "disagreement" if (self.confidence or 0.0) >= _CONFIDENT else "rare-path"


def novelty_of(ranked: Ranked) -> Novelty:
    """Return how novel an image is."""
    image, reference = ranked.image, ranked.reference
    return Novelty(
        rank=ranked.rank,
        rarity=reference.rarity(ranked.contrasts),
        path_share=reference.paths[path_of(ranked.sets)] / reference.images,
        confidence=_confidence(image.result, image.params, image.version.manifest),
        place=reference.place(ranked.contrasts),
    )


def _confidence(result: Result, params: ResolvedParams, manifest: Manifest) -> float | None:
    """Return the highest confidence; None if the caller asked only for some classes or high confidences."""
    if params.class_ids is not None or params.class_conf:
        return None
    settings = manifest.task_settings
    if not isinstance(settings, ClassifySettings) and params.values["conf"] > settings.defaults.conf:
        return None
    found = result if isinstance(result, Detections | Classes) else result.detections
    return float(found.scores[0]) if len(found) else 0.0
