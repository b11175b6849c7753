"""Post-process poses: report boxes, each with the keypoints of its object."""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from service.artifact.golden import Golden
from service.artifact.manifest import Manifest
from service.artifact.task_settings import PoseSettings
from service.errors import ArtifactMismatch
from service.pipeline.letterbox import Letterbox
from service.pipeline.preprocess import Placed
from service.request import ResolvedParams
from service.tasks.detect import Detections, Prediction, compare_golden, find, golden_rows, prediction_fields
from service.types import RawOutputs


@dataclass(frozen=True)
class Poses:
    """The objects in one image and their keypoints, highest score first, in source pixels."""

    detections: Detections
    keypoints: NDArray[np.float32]  # (N, P, 3)  x, y, visibility 0..1

    def __len__(self) -> int:
        """Return the number of objects."""
        return len(self.detections)


class KeypointPrediction(BaseModel):
    """One keypoint; x and y are in pixels of the upright image, and may lie outside it."""

    name: str
    x: float
    y: float
    confidence: Annotated[float, Field(ge=0, le=1, description="How sure it is that the point is visible.")]


class PosePrediction(Prediction):
    """One object with its keypoints, in the order that GET /models lists."""

    keypoints: list[KeypointPrediction]


def skeleton_of(manifest: Manifest) -> list[tuple[int, int]] | None:
    """Return the pairs of keypoints that a line joins; None if the model finds no keypoints."""
    settings = manifest.task_settings
    return list(settings.skeleton) if isinstance(settings, PoseSettings) else None


class PoseTask:
    """The post-processing of one pose model."""

    drawn_as: Literal["boxes", "labels"] = "boxes"

    def __init__(self, manifest: Manifest) -> None:
        """Create the post-processing for the model of a manifest."""
        assert isinstance(manifest.task_settings, PoseSettings)
        self._manifest = manifest
        self._settings = manifest.task_settings

    def read(self, outputs: RawOutputs, params: ResolvedParams, placed: Placed) -> Poses:
        """Return the objects of one image with their keypoints, which may lie outside the image."""
        assert isinstance(placed.place, Letterbox)
        found = find(self._manifest, outputs, params, placed)
        keypoints = self._manifest.read(outputs, "keypoints")[0][found.rows].astype(np.float32)
        points, visible = placed.place.points_to_source(keypoints[..., :2]), keypoints[..., 2:].clip(0, 1)
        return Poses(found.detections, np.concatenate([points, visible], axis=-1))

    def count(self, result: Poses) -> int:
        """Return the number of objects."""
        return len(result)

    def describe(self, result: Poses) -> list[PosePrediction]:
        """Return the predictions for the HTTP answer, highest confidence first."""
        return [
            PosePrediction(
                **fields,
                keypoints=[
                    KeypointPrediction(name=name, x=round(x, 3), y=round(y, 3), confidence=round(visible, 6))
                    for name, (x, y, visible) in zip(self._settings.keypoints, points, strict=True)
                ],
            )
            for fields, points in zip(
                prediction_fields(result.detections, self._manifest),
                result.keypoints.astype(float).tolist(),
                strict=True,
            )
        ]

    def compare(self, result: Poses, golden: Golden) -> None:
        """Compare the objects with those of the golden sample: boxes, scores and keypoints.

        Raises:
            ArtifactBroken: the sample has no detections or keypoints, or their arrays do not fit each other.
            ArtifactMismatch: a box, score or keypoint differs, or an object is missing or extra.
        """
        want = golden_rows(golden, "det_keypoints", (len(self._settings.keypoints), 3)).astype(np.float64)
        limits = self._manifest.output("keypoints").tolerance.limits(want)
        for row, i in compare_golden(result.detections, golden, self._manifest):
            errors = np.abs(result.keypoints[row].astype(np.float64) - want[i])
            if not np.all(errors <= limits[i]):
                worst = np.unravel_index(int(np.argmax(errors - limits[i])), errors.shape)
                raise ArtifactMismatch(
                    "keypoint", float(errors[worst]), float(limits[i][worst]), f"detection {i}"
                )
