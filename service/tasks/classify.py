"""Post-process classification: report the most probable classes of a whole image."""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from service.artifact.golden import Golden
from service.artifact.manifest import Manifest
from service.errors import ArtifactBroken, ArtifactMismatch, BackendFailed
from service.pipeline.preprocess import Placed
from service.request import ResolvedParams
from service.types import RawOutputs


@dataclass(frozen=True)
class Classes:
    """The most probable classes of one image, highest probability first."""

    class_ids: NDArray[np.int64]  # (N,)
    scores: NDArray[np.float32]  # (N,)  0..1

    def __post_init__(self) -> None:
        if self.class_ids.shape != self.scores.shape or self.scores.ndim != 1:
            raise ValueError(f"{self.class_ids.shape=} {self.scores.shape=} do not fit each other")

    def __len__(self) -> int:
        """Return the number of classes."""
        return len(self.scores)


class ClassPrediction(BaseModel):
    """One class of the whole image, with its confidence."""

    model_config = ConfigDict(validate_by_name=True, serialize_by_alias=True)

    class_name: Annotated[str, Field(alias="class")]
    class_id: int
    confidence: Annotated[float, Field(ge=0, le=1)]


class ClassifyTask:
    """The post-processing of one classifier."""

    drawn_as: Literal["boxes", "labels"] = "labels"

    def __init__(self, manifest: Manifest) -> None:
        """Create the post-processing for the model of a manifest."""
        self._manifest = manifest

    def read(self, outputs: RawOutputs, params: ResolvedParams, placed: Placed) -> Classes:
        """Return the most probable requested classes; if scores are equal, the lower class id comes first.

        Raises:
            BackendFailed: a probability is NaN or infinite.
        """
        probabilities = self._manifest.read(outputs, "probabilities")[0].astype(np.float32)  # (C,)
        if not np.isfinite(probabilities).all():
            raise BackendFailed(f"model {self._manifest.name!r} returned a probability that is not finite")
        order = np.argsort(-probabilities, kind="stable")
        if params.class_ids is not None:
            order = order[np.isin(order, np.array(sorted(params.class_ids), dtype=np.int64))]
        best = order[: int(params.values["top"])].astype(np.int64)
        return Classes(best, probabilities[best])

    def count(self, result: Classes) -> int:
        """Return 0, because a classifier detects no objects."""
        return 0

    def describe(self, result: Classes) -> list[ClassPrediction]:
        """Return the predictions for the HTTP answer, highest confidence first."""
        names = self._manifest.class_names
        rows = zip(result.class_ids.tolist(), result.scores.astype(float).tolist(), strict=True)
        return [
            ClassPrediction(class_name=names[class_id], class_id=class_id, confidence=round(score, 6))
            for class_id, score in rows
        ]

    def compare(self, result: Classes, golden: Golden) -> None:
        """Compare the best classes with the golden sample; equally probable classes may be in either order.

        Raises:
            ArtifactBroken: the sample has no classes.
            ArtifactMismatch: a class or score differs; the message names its rank among the best classes.
        """
        want_ids = golden.answer("cls_class_ids").reshape(-1)
        want_scores = golden.answer("cls_scores").astype(np.float64).reshape(-1)
        if len(want_ids) != len(want_scores):
            raise ArtifactBroken(
                f"{golden.where}: {len(want_ids)} cls_class_ids, {len(want_scores)} cls_scores"
            )
        if len(want_ids) != len(result):
            off = float(abs(len(want_ids) - len(result)))
            raise ArtifactMismatch("classes", off, 0.0, f"{len(result)} of {len(want_ids)}")
        limits = self._manifest.output("probabilities").tolerance.limits(want_scores)
        golden_score = dict(zip(want_ids.tolist(), want_scores.tolist(), strict=True))
        for i, (class_id, score) in enumerate(
            zip(result.class_ids.tolist(), result.scores.tolist(), strict=True)
        ):
            place_error = abs(score - want_scores[i])
            # A class that the sample does not list must be as probable as the sample's last class.
            error = max(place_error, abs(score - golden_score.get(class_id, want_scores[-1])))
            if not error <= limits[i]:
                raise ArtifactMismatch("class", error, float(limits[i]), f"place {i}")
