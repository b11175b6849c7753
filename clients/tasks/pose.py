"""Find objects and their keypoints by requesting them from the service or from Triton's ensemble."""

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
from .ensemble import EnsembleQuestion, mismatch, question_fields
from .optional import supervision

Skeleton = tuple[tuple[int, int], ...]
"""Pairs of keypoints that a line joins in a drawing; each number is the index of a keypoint."""

# N objects · P keypoints of each

_KEYPOINTS = "keypoints"  # output of the ensemble, and role of the graph's output


@dataclass(frozen=True, kw_only=True, eq=False)
class Poses(Detections):
    """The objects in one image and their keypoints, best first."""

    keypoints: NDArray[np.float32]  # (N, P, 2)  x, y in source pixels, also outside the image
    keypoint_scores: NDArray[np.float32]  # (N, P)  0..1
    keypoint_names: tuple[str, ...]  # P; from the service, empty if nothing was found
    skeleton: Skeleton = ()  # also empty if an older service does not send it

    def __post_init__(self) -> None:
        super().__post_init__()
        shape = (len(self), len(self.keypoint_names))
        if self.keypoints.shape != (*shape, 2) or self.keypoint_scores.shape != shape:
            raise ValueError(f"{self.keypoints.shape=} {self.keypoint_scores.shape=} do not fit {shape=}")

    def predictions(self) -> list[dict[str, Any]]:
        """Return the objects as dicts, as in the service's answer."""
        points, scores = self.keypoints.astype(float).tolist(), self.keypoint_scores.astype(float).tolist()
        return [
            {
                **row,
                "keypoints": [
                    {"name": name, "x": round(x, 3), "y": round(y, 3), "confidence": round(score, 6)}
                    for name, (x, y), score in zip(self.keypoint_names, places, sure, strict=True)
                ],
            }
            for row, places, sure in zip(super().predictions(), points, scores, strict=True)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as a dict, in the form of the service's answer, with the skeleton."""
        return super().to_dict() | {"skeleton": [list(pair) for pair in self.skeleton]}

    def layout(self) -> Layout:
        """Return the objects as a table; its last column counts the keypoints that are likely visible."""
        boxes = super().layout()
        visible = (self.keypoint_scores >= 0.5).sum(axis=1).tolist()
        counts = [f"{count} of {len(self.keypoint_names)}" for count in visible]
        rows = [(*row, count) for row, count in zip(boxes.rows, counts, strict=True)]
        return Layout(boxes.summary, (*boxes.headers, "keypoints"), (*boxes.formats, ""), rows)

    def to_supervision(self) -> Any:
        """Return the keypoints as supervision.KeyPoints.

        Raises:
            NotInstalled: the package supervision is not installed.
        """
        return supervision().KeyPoints(
            xy=self.keypoints,
            keypoint_confidence=self.keypoint_scores,
            class_id=self.class_ids,
            data={"class_name": np.array(self.class_names, dtype=str)},
        )


@dataclass(frozen=True, kw_only=True)
class PoseParams(BoxParams):
    """The parameters of a pose call; a field that is None stands for the model's default."""

    task: ClassVar[str] = "pose"

    def ask(self, image: bytes | NDArray[Any], manifest: Manifest) -> "PoseQuestion":
        """Return the request to Triton: the resized image, with the model's defaults for missing parameters.

        Args:
            image: an image file's bytes, or (H, W, 3) uint8 RGB pixels.
            manifest: manifest of the model.

        Raises:
            BadImage: the file cannot be decoded, or the array is no image.
            BadParameter: DetectParams.ask lists the reasons.
            ManifestMismatch: the manifest lacks an entry that poses need, or an entry is invalid.
        """
        fields = question_fields(self, image, manifest, _KEYPOINTS)
        try:
            settings = Facts(dict(manifest.task_settings), "task_settings.")
            names = settings.list_of("keypoints", str)
            skeleton = _skeleton(settings, len(names))
        except ValueError as error:
            raise mismatch(manifest, error) from error
        return PoseQuestion(**fields, names=tuple(names), skeleton=skeleton)

    def read(self, answer: Facts) -> Poses:
        """Return the objects and their keypoints, read from the service's answer.

        Raises:
            ValueError: a member of the answer is missing, or has another type.
            WrongTask: the predictions belong to another task.
        """
        found = found_in(answer, "pose")
        objects = [prediction.parts("keypoints") for prediction in answer.parts("predictions")]
        names = tuple(point.text("name") for point in objects[0]) if objects else ()
        if any(tuple(point.text("name") for point in points) != names for points in objects):
            raise ValueError("the predictions have different keypoints")
        shape = (len(objects), len(names))
        xy = [[(point.number("x"), point.number("y")) for point in points] for points in objects]
        scores = [[point.share("confidence") for point in points] for points in objects]
        return Poses(
            **found,
            keypoints=np.array(xy, dtype=np.float32).reshape(*shape, 2),
            keypoint_scores=np.array(scores, dtype=np.float32).reshape(shape),
            keypoint_names=names,
            skeleton=_skeleton(answer, len(names) if objects else None),
        )


@dataclass(frozen=True, kw_only=True)
class PoseQuestion(EnsembleQuestion):
    """A request for poses to Triton's ensemble, with one image and its parameters."""

    names: tuple[str, ...]  # P, of the keypoints
    skeleton: Skeleton

    def own_outputs(self, count: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Return the type and shape of the output with the keypoints of `count` objects."""
        return {_KEYPOINTS: ("float32", (count, len(self.names), 3))}

    def read(self, outputs: Tensors) -> Poses:
        """Return the objects and their keypoints, in source pixels, and the experts that ran.

        Raises:
            ManifestMismatch: an output is missing, or its shape or type differs from the manifest.
        """
        fields, rows = self.found(outputs)
        points = outputs[_KEYPOINTS][rows]
        return Poses(
            **fields,
            keypoints=self.letterbox.points_to_source(points[..., :2]),
            keypoint_scores=points[..., 2].clip(0, 1),
            keypoint_names=self.names,
            skeleton=self.skeleton,
        )


def _skeleton(told: Facts, count: int | None) -> Skeleton:
    """Return the skeleton in an answer or a manifest; `count` is the number of keypoints, None if unknown."""
    if not told.has("skeleton"):
        return ()
    pairs = told.list_of("skeleton", list, empty=True)
    for pair in pairs:
        is_pair = len(pair) == 2 and all(type(place) is int and place >= 0 for place in pair)
        if not is_pair or (count is not None and max(pair) >= count):
            raise ValueError(f"skeleton: {pair} is no pair of the keypoints' places")
    return tuple((one, other) for one, other in pairs)


class PoseCalls(Caller):
    """The method `pose` of synchronous clients."""

    def pose(
        self,
        image: Image,
        *,
        conf: Confidence | None = None,
        iou: float | None = None,
        max_det: int | None = None,
        classes: Classes | None = None,
        **controls: float | None,
    ) -> Poses:
        """Return the objects in an image with their keypoints.

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
        params = PoseParams(conf=conf, iou=iou, max_det=max_det, classes=classes, controls=given(controls))
        return self._run(image, params)


class AsyncPoseCalls(AsyncCaller):
    """The method `pose` of asyncio clients."""

    async def pose(
        self,
        image: Image,
        *,
        conf: Confidence | None = None,
        iou: float | None = None,
        max_det: int | None = None,
        classes: Classes | None = None,
        **controls: float | None,
    ) -> Poses:
        """Return the objects in an image with their keypoints; see PoseCalls.pose."""
        params = PoseParams(conf=conf, iou=iou, max_det=max_det, classes=classes, controls=given(controls))
        return await self._run(image, params)
