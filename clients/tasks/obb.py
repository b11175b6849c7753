"""Detect objects with rotated boxes by requesting them from the service or from Triton's ensemble."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..facts import Facts
from ..manifest import Manifest
from ..parameters import Classes, Confidence, given
from ..tensors import Tensors
from ..types import Layout
from .boxes import BoxParams, Detections, found_in
from .calls import AsyncCaller, Caller, Image
from .ensemble import EnsembleQuestion, question_fields

_CORNERS = "corners"  # output of the ensemble


@dataclass(frozen=True, kw_only=True, eq=False)
class OrientedDetections(Detections):
    """The objects in one image and their rotated boxes, best first.

    boxes_xyxy are the boxes before they are rotated around their centres; they can extend beyond the image.
    """

    rotations: NDArray[np.float32]  # (N,)  degrees clockwise, 0..180
    corners: NDArray[np.float32]  # (N, 4, 2)  source pixels: top left, top right, bottom right, bottom left

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rotations.shape != (len(self),) or self.corners.shape != (len(self), 4, 2):
            raise ValueError(f"{self.rotations.shape=} {self.corners.shape=} do not fit n={len(self)}")

    def predictions(self) -> list[dict[str, Any]]:
        """Return the objects as dicts, as in the service's answer."""
        rotations, corners = self.rotations.astype(float).tolist(), self.corners.astype(float).tolist()
        return [
            {
                **row,
                "rotation": round(degrees, 3),
                "corners": [[round(x, 3), round(y, 3)] for x, y in points],
            }
            for row, degrees, points in zip(super().predictions(), rotations, corners, strict=True)
        ]

    def layout(self) -> Layout:
        """Return the objects as a table with one rotated box per row."""
        rows = [
            (
                row["class"],
                row["confidence"],
                *(row[name] for name in ("x", "y", "width", "height", "rotation")),
            )
            for row in self.predictions()
        ]
        headers = ("class", "score", "x", "y", "width", "height", "degrees")
        return Layout(f"{len(self)} found", headers, ("", ".3f", *[".1f"] * 5), rows)

    def to_supervision(self) -> Any:
        """Return the objects as supervision.Detections, with rotated boxes in data["xyxyxyxy"], (N, 4, 2).

        The field xyxy has the upright boxes around the corners.

        Raises:
            NotInstalled: the package supervision is not installed.
        """
        found = super().to_supervision()
        # boxes_xyxy are the boxes before rotation; the objects are in the rotated boxes.
        found.xyxy = np.concatenate([self.corners.min(axis=1), self.corners.max(axis=1)], axis=1)
        found.data["xyxyxyxy"] = self.corners
        return found


@dataclass(frozen=True, kw_only=True)
class OrientedParams(BoxParams):
    """The parameters of a call for rotated boxes; a field that is None stands for the model's default."""

    task: ClassVar[str] = "obb"

    def ask(self, image: bytes | NDArray[Any], manifest: Manifest) -> "OrientedQuestion":
        """Return the request to Triton: the resized image, with the model's defaults for missing parameters.

        Args:
            image: an image file's bytes, or (H, W, 3) uint8 RGB pixels.
            manifest: manifest of the model.

        Raises:
            BadImage: the file cannot be decoded, or the array is no image.
            BadParameter: DetectParams.ask lists the reasons.
            ManifestMismatch: the manifest lacks an entry that rotated boxes need, or an entry is invalid.
        """
        return OrientedQuestion(**question_fields(self, image, manifest, "angles"))

    def read(self, answer: Facts) -> OrientedDetections:
        """Return the rotated boxes, read from the service's answer.

        Raises:
            ValueError: a member of the answer is missing, or has another type.
            WrongTask: the predictions belong to another task.
        """
        found = found_in(answer, "obb")
        predictions = answer.parts("predictions")
        corners = [_corners(prediction) for prediction in predictions]
        return OrientedDetections(
            **found,
            rotations=np.array([one.number("rotation") for one in predictions], dtype=np.float32),
            corners=np.array(corners, dtype=np.float32).reshape(-1, 4, 2),
        )


class OrientedQuestion(EnsembleQuestion):
    """A request for rotated boxes to Triton's ensemble, with one image and its parameters."""

    def own_outputs(self, count: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Return the type and shape of the output with the corners of `count` boxes."""
        return {_CORNERS: ("float32", (count, 4, 2))}

    def read(self, outputs: Tensors) -> OrientedDetections:
        """Return the rotated boxes in source pixels, not clipped to the image, and the experts that ran.

        Raises:
            ManifestMismatch: an output is missing, or its shape or type differs from the manifest.
        """
        fields, rows = self.found(outputs)
        corners = outputs[_CORNERS][rows]
        angles = _angles(corners)
        # A box that is rotated by half a turn is the same box, but its first corner is the opposite one.
        beyond = (angles < 0) | (angles >= math.pi)
        corners = np.where(beyond[:, None, None], np.roll(corners, 2, axis=1), corners)
        return OrientedDetections(
            **fields | {"boxes_xyxy": self.unclipped_boxes(outputs, rows)},
            rotations=np.degrees(np.mod(angles, math.pi)).astype(np.float32),
            corners=self.letterbox.points_to_source(corners),
        )


def _angles(corners: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the angle of the width axis of rotated boxes, (N,) radians clockwise, from -pi to pi.

    Args:
        corners: (N, 4, 2); before the rotation, their order is top left, top right, bottom right, bottom
            left.
    """
    start, across, _, down = corners.astype(np.float64).transpose(1, 0, 2)
    width, height = across - start, down - start
    # The longer side has the angle with more digits. The width axis is a right angle behind the height axis.
    by_height = np.hypot(*height.T) > np.hypot(*width.T)
    x, y = np.where(by_height, [height[:, 1], -height[:, 0]], width.T)
    angles: NDArray[np.float64] = np.arctan2(y, x)
    return angles


def _corners(prediction: Facts) -> NDArray[np.float32]:
    corners = np.array(prediction.list_of("corners", list), dtype=np.float32)
    if corners.shape != (4, 2):
        raise ValueError("corners is not a list of four [x, y]")
    return corners


class OrientedCalls(Caller):
    """The method `detect_oriented` of synchronous clients."""

    def detect_oriented(
        self,
        image: Image,
        *,
        conf: Confidence | None = None,
        iou: float | None = None,
        max_det: int | None = None,
        classes: Classes | None = None,
        **controls: float | None,
    ) -> OrientedDetections:
        """Return the objects in an image with rotated boxes.

        A parameter that is left out gets the model's default.

        Args:
            image: an image file's bytes, or (H, W, 3) uint8 RGB pixels.
            conf: lowest score to report; see `detect`.
            iou: IoU above which two boxes of one class count as one object, 0..1.
            max_det: maximum number of objects, 1..10,000.
            classes: names or ids of the classes to report; None for all classes.
            controls: values for controls of the model, by name; see `detect`.

        Raises:
            ClientError: the call failed; the message says what to do.
        """
        params = OrientedParams(
            conf=conf, iou=iou, max_det=max_det, classes=classes, controls=given(controls)
        )
        return self._run(image, params)


class AsyncOrientedCalls(AsyncCaller):
    """The method `detect_oriented` of asyncio clients."""

    async def detect_oriented(
        self,
        image: Image,
        *,
        conf: Confidence | None = None,
        iou: float | None = None,
        max_det: int | None = None,
        classes: Classes | None = None,
        **controls: float | None,
    ) -> OrientedDetections:
        """Return the objects in an image with rotated boxes; see OrientedCalls.detect_oriented."""
        params = OrientedParams(
            conf=conf, iou=iou, max_det=max_det, classes=classes, controls=given(controls)
        )
        return await self._run(image, params)
