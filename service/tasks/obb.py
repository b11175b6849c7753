"""Post-process detection of rotated boxes: report boxes that are turned around their centre."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from service.artifact.golden import Golden
from service.artifact.manifest import Manifest
from service.artifact.task_settings import OrientedSettings
from service.errors import ArtifactMismatch
from service.pipeline.preprocess import Placed
from service.pipeline.rotated import corners_of
from service.request import ResolvedParams
from service.tasks.detect import Detections, Prediction, compare_golden, find, golden_rows, prediction_fields
from service.types import RawOutputs


@dataclass(frozen=True)
class OrientedBoxes:
    """Rotated boxes in one image, highest score first, in source pixels and not clipped to the image."""

    detections: Detections  # boxes before they are turned
    angles: NDArray[np.float32]  # (N,) radians, clockwise, 0..pi

    def __len__(self) -> int:
        """Return the number of boxes."""
        return len(self.detections)


class OrientedPrediction(Prediction):
    """One object; width and height are those of its box before the box is turned around x, y."""

    rotation: Annotated[
        float, Field(description="Degrees from 0 to 180, clockwise, of the width's direction.")
    ]
    corners: Annotated[
        list[tuple[float, float]],
        Field(description="Of the turned box: its top left, top right, bottom right, bottom left corner."),
    ]


class OrientedTask:
    """The post-processing of one detector of rotated boxes."""

    drawn_as: Literal["boxes", "labels"] = "boxes"

    def __init__(self, manifest: Manifest) -> None:
        """Create the post-processing for the model of a manifest."""
        assert isinstance(manifest.task_settings, OrientedSettings)
        self._manifest = manifest

    def read(self, outputs: RawOutputs, params: ResolvedParams, placed: Placed) -> OrientedBoxes:
        """Return the rotated boxes of one image."""
        angles = self._manifest.read(outputs, "angles")[0].astype(np.float64)
        found = find(self._manifest, outputs, params, placed, angles)
        return OrientedBoxes(found.detections, np.mod(angles[found.rows], math.pi).astype(np.float32))

    def count(self, result: OrientedBoxes) -> int:
        """Return the number of boxes."""
        return len(result)

    def describe(self, result: OrientedBoxes) -> list[OrientedPrediction]:
        """Return the predictions for the HTTP answer, highest confidence first."""
        corners = corners_of(result.detections.boxes_xyxy, result.angles).round(3).tolist()
        degrees = np.degrees(result.angles.astype(np.float64)).round(3).tolist()
        fields = prediction_fields(result.detections, self._manifest)
        return [
            OrientedPrediction(**one, rotation=rotation, corners=[(x, y) for x, y in points])
            for one, rotation, points in zip(fields, degrees, corners, strict=True)
        ]

    def compare(self, result: OrientedBoxes, golden: Golden) -> None:
        """Compare the boxes with those of the golden sample; angles that differ by pi count as equal.

        Raises:
            ArtifactBroken: the sample has no detections or angles, or their arrays do not fit each other.
            ArtifactMismatch: a box, score or angle differs, or a box is missing or extra.
        """
        want = golden_rows(golden, "det_angles", ()).astype(np.float64)
        limits = self._manifest.output("angles").tolerance.limits(want)
        for row, i in compare_golden(result.detections, golden, self._manifest):
            error = abs(math.remainder(float(result.angles[row]) - float(want[i]), math.pi))
            if not error <= limits[i]:
                raise ArtifactMismatch("angle", error, float(limits[i]), f"detection {i}")
