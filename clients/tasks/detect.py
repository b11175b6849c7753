"""Detect objects: request boxes from the service, or from Triton's ensemble `<model>-<target>-detect`.

Boxes are in pixels of the source image. The ensemble runs the graph and then non-maximum suppression (NMS).
So a client that calls Triton directly only resizes the image, and maps boxes back to the source image.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import BadParameter, ManifestMismatch, WrongTask
from ..facts import Facts
from ..letterbox import Letterbox
from ..manifest import Manifest
from ..parameters import (
    Classes,
    Confidence,
    as_text,
    class_ids,
    confidences,
    given,
    resolve_controls,
    share,
    whole,
)
from ..service_answer import common as common_of_answer
from ..tensors import Canvas, Tensors, check, common, graph_inputs, graph_name, routing_outputs, rows_of
from ..types import Answer, Layout
from .calls import AsyncCaller, Caller, Image, task_of
from .optional import supervision

_MOST_DETECTIONS = 10_000  # highest max_det; the service has the same limit
# Tensors that the ensemble has in addition to the graph's tensors.
_CONF, _IOU, _MAX_DET = "conf", "iou", "max_det"
_BOXES, _SCORES, _CLASS_IDS = "boxes", "scores", "class_ids"


@dataclass(frozen=True)
class Detection:
    """One detected object: box, score and class."""

    box_xyxy: tuple[float, float, float, float]  # source pixels
    score: float  # 0..1
    class_name: str
    class_id: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Detections(Answer):
    """The objects that were found in one image. Iterating yields one Detection per object, best first."""

    boxes_xyxy: NDArray[np.float32]  # (N, 4)  source pixels, inside the image
    scores: NDArray[np.float32]  # (N,)  0..1, highest first
    class_ids: NDArray[np.int64]  # (N,)
    class_names: tuple[str, ...]  # N, one for each detection

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

    def predictions(self) -> list[dict[str, Any]]:
        """Return the detections as dicts, as in the service's answer; x and y are the centre of the box."""
        return [_prediction(detection) for detection in self]

    def to_supervision(self) -> Any:
        """Return the objects as supervision.Detections, for the package supervision.

        Raises:
            NotInstalled: the package supervision is not installed.
        """
        return supervision().Detections(
            xyxy=self.boxes_xyxy,
            confidence=self.scores,
            class_id=self.class_ids,
            data={"class_name": np.array(self.class_names, dtype=str)},
        )

    def layout(self) -> Layout:
        """Return the detections as a table with one detection per row."""
        return Layout(
            f"{len(self)} found",
            ("class", "score", "left", "top", "right", "bottom"),
            ("", ".3f", ".1f", ".1f", ".1f", ".1f"),
            [(one.class_name, one.score, *one.box_xyxy) for one in self],
        )


@dataclass(frozen=True, kw_only=True)
class DetectParams:
    """The parameters of a detection call; a field that is None stands for the model's default."""

    task: ClassVar[str] = "detect"

    conf: Confidence | None = None
    iou: float | None = None
    max_det: int | None = None
    classes: Classes | None = None
    agnostic_nms: bool | None = None
    controls: Mapping[str, float] = field(default_factory=dict)

    def ask(self, image: NDArray[np.uint8], manifest: Manifest) -> "DetectQuestion":
        """Return the question to Triton: the resized image, with the model's defaults for missing parameters.

        Args:
            image: (H, W, 3) RGB pixels.
            manifest: manifest of the model.

        Raises:
            BadParameter: a value is out of range, the call names a class or control that the model lacks, or
                agnostic_nms is true, although the ensemble suppresses boxes only within a class.
            ManifestMismatch: the manifest lacks an entry that detection needs, or an entry is invalid.
        """
        try:
            defaults = Defaults.of(manifest)
        except ValueError as error:
            raise ManifestMismatch(graph_name(manifest.name, manifest.target), str(error)) from error
        if self.agnostic_nms:
            sentence = (
                "agnostic_nms needs the service; Triton's model for suppression compares single classes"
            )
            raise BadParameter("agnostic_nms", sentence)
        for_all, class_conf = confidences(self.conf, manifest.class_names)
        return DetectQuestion(
            manifest=manifest,
            canvas=Canvas.of(image, manifest),
            conf=defaults.conf if for_all is None else for_all,
            class_conf=class_conf,
            iou=defaults.iou if self.iou is None else share("iou", self.iou),
            max_det=defaults.max_det
            if self.max_det is None
            else whole("max_det", self.max_det, _MOST_DETECTIONS),
            candidates=defaults.candidates,
            class_ids=None if self.classes is None else class_ids(self.classes, manifest.class_names),
            controls=resolve_controls(self.controls, manifest),
        )

    def query(self) -> dict[str, str | float]:
        """Return these parameters as the query of `POST /detect`, without those that are None."""
        asked = {"conf": self.conf, "iou": self.iou, "max_det": self.max_det, **self.controls}
        query: dict[str, str | float] = {name: value for name, value in asked.items() if value is not None}
        if self.agnostic_nms is not None:
            query["agnostic_nms"] = str(self.agnostic_nms).lower()
        if self.classes is not None:
            query["classes"] = as_text(self.classes)
        return query

    def read(self, answer: Facts) -> Detections:
        """Return the detections, read from the service's answer.

        Raises:
            ValueError: a member of the answer is missing, or has another type.
            WrongTask: the predictions are those of another task.
        """
        return Detections(**found_in(answer, "detect"))


@dataclass(frozen=True)
class Defaults:
    """The detection settings of a manifest: default parameters, and the number of boxes before NMS."""

    conf: float
    iou: float
    max_det: int
    candidates: int  # maximum number of boxes that the model returns for one image

    @classmethod
    def of(cls, manifest: Manifest) -> "Defaults":
        """Return the detection settings of a manifest.

        Raises:
            ValueError: a setting, or an output that detection needs, is missing or invalid.
        """
        manifest.output("boxes_xyxy")
        routing_outputs(manifest)
        if manifest.resize.mode != "letterbox":
            raise ValueError(f"inputs: resize.mode is {manifest.resize.mode!r}; detection needs letterbox")
        settings = Facts(dict(manifest.task_settings), "task_settings.")
        defaults = settings.part("defaults")
        return cls(
            conf=defaults.share("conf"),
            iou=defaults.share("iou"),
            max_det=defaults.whole("max_det", 1),
            candidates=settings.whole("candidates", 1),
        )


@dataclass(frozen=True, kw_only=True)
class DetectQuestion:
    """One image with its parameters, ready for Triton's ensemble."""

    manifest: Manifest
    canvas: Canvas
    conf: float
    class_conf: Mapping[int, float]  # lowest scores of single classes, by id, instead of `conf`
    iou: float
    max_det: int
    candidates: int
    class_ids: frozenset[int] | None  # None: all
    controls: Mapping[str, float]

    @property
    def model(self) -> str:
        """Return the name of the ensemble in Triton."""
        return graph_name(self.manifest.name, self.manifest.target) + "-detect"

    @property
    def outputs(self) -> tuple[str, ...]:
        """Return the names of the outputs to fetch: the detections and the routing outputs."""
        return (_BOXES, _SCORES, _CLASS_IDS, *(tensor.name for tensor in routing_outputs(self.manifest)))

    @cached_property
    def tensors(self) -> Tensors:
        """Return the ensemble's inputs, by name: the graph's inputs and conf, iou and max_det."""
        # The ensemble does not distinguish classes. With a class filter, or scores for single classes, the
        # client therefore fetches every detection, filters, and only then keeps the best max_det.
        plain = self.class_ids is None and not self.class_conf
        max_det = self.max_det if plain else self.candidates
        return {
            **graph_inputs(self.manifest, self.canvas, self.controls),
            _CONF: np.array([min([self.conf, *self.class_conf.values()])], dtype=np.float32),
            _IOU: np.array([self.iou], dtype=np.float32),
            _MAX_DET: np.array([max_det], dtype=np.int32),
        }

    def read(self, outputs: Tensors) -> Detections:
        """Return the detections, in source pixels, and the experts that ran, from the ensemble's outputs.

        Raises:
            ManifestMismatch: an output is missing, or its shape or type differs from the manifest.
        """
        self._check(outputs)
        found = outputs[_CLASS_IDS].astype(np.int64)
        wanted = (
            np.ones(len(found), bool) if self.class_ids is None else np.isin(found, sorted(self.class_ids))
        )
        lowest = np.array([self.class_conf.get(each, self.conf) for each in found.tolist()], dtype=np.float32)
        kept = np.flatnonzero(wanted & (outputs[_SCORES] >= lowest))[: self.max_det]
        letterbox, image_hw = self.canvas.letterbox, self.canvas.image_hw
        assert isinstance(letterbox, Letterbox)  # Defaults.of has checked resize.mode
        return Detections(
            **common(self.manifest, self.canvas, self.controls, outputs),
            boxes_xyxy=letterbox.to_source(outputs[_BOXES][kept], image_hw),
            scores=outputs[_SCORES][kept],
            class_ids=found[kept],
            class_names=tuple(self.manifest.class_names[i] for i in found[kept]),
        )

    def _check(self, outputs: Tensors) -> None:
        class_ids = outputs.get(_CLASS_IDS, np.zeros(0))
        n, classes = class_ids.size, len(self.manifest.class_names)
        own = {_BOXES: ("float32", (n, 4)), _SCORES: ("float32", (n,)), _CLASS_IDS: ("int32", (n,))}
        check(outputs, {**own, **rows_of(routing_outputs(self.manifest))}, self.model)
        if n and not 0 <= class_ids.min() <= class_ids.max() < classes:
            raise ManifestMismatch(self.model, f"the answer has a class id outside 0..{classes - 1}")


class DetectCalls(Caller):
    """The method `detect` of synchronous clients."""

    def detect(
        self,
        image: Image,
        *,
        conf: Confidence | None = None,
        iou: float | None = None,
        max_det: int | None = None,
        classes: Classes | None = None,
        agnostic_nms: bool | None = None,
        **controls: float | None,
    ) -> Detections:
        """Return the objects in an image, and the experts that ran.

        A parameter that is left out gets the model's default.

        Args:
            image: an image file's bytes, or (H, W, 3) uint8 RGB pixels.
            conf: lowest score to report, 0..1. The text "0.3,fish:0.4" sets 0.4 for fish, 0.3 for the others.
            iou: IoU above which two boxes of one class count as one object, 0..1.
            max_det: maximum number of detections, 1..10,000.
            classes: names or ids of the classes to report; None for all classes.
            agnostic_nms: whether overlapping boxes of different classes count as one object; a Triton
                client accepts only False or None.
            controls: values for controls of the model, by name. Models with experts have top_k, the number
                of experts per image and layer, and weight_threshold, the probability below which an expert
                does not run; the most probable expert always runs.

        Raises:
            ClientError: the call failed; the message says what to do.
        """
        params = DetectParams(
            conf=conf,
            iou=iou,
            max_det=max_det,
            classes=classes,
            agnostic_nms=agnostic_nms,
            controls=given(controls),
        )
        return self._run(image, params)


class AsyncDetectCalls(AsyncCaller):
    """The method `detect` of asyncio clients."""

    async def detect(
        self,
        image: Image,
        *,
        conf: Confidence | None = None,
        iou: float | None = None,
        max_det: int | None = None,
        classes: Classes | None = None,
        agnostic_nms: bool | None = None,
        **controls: float | None,
    ) -> Detections:
        """Return the objects in an image, and the experts that ran; see DetectCalls.detect."""
        params = DetectParams(
            conf=conf,
            iou=iou,
            max_det=max_det,
            classes=classes,
            agnostic_nms=agnostic_nms,
            controls=given(controls),
        )
        return await self._run(image, params)


def found_in(answer: Facts, *tasks: str) -> dict[str, Any]:
    """Return the fields of Detections, read from the service's answer.

    Args:
        answer: the answer to `POST /detect`.
        tasks: the tasks whose predictions the caller can read.

    Raises:
        ValueError: a member of the answer is missing, or has another type.
        WrongTask: the predictions are those of another task.
    """
    predictions = answer.parts("predictions")
    if predictions and (task := task_of(predictions[0])) not in tasks:
        raise WrongTask(answer.part("model").text("name"), task)
    found = [_from_prediction(prediction) for prediction in predictions]
    return {
        **common_of_answer(answer),
        "boxes_xyxy": np.array([one.box_xyxy for one in found], dtype=np.float32).reshape(-1, 4),
        "scores": np.array([one.score for one in found], dtype=np.float32),
        "class_ids": np.array([one.class_id for one in found], dtype=np.int64),
        "class_names": tuple(one.class_name for one in found),
    }


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


def _from_prediction(prediction: Facts) -> Detection:
    x, y, width, height = (prediction.number(name) for name in ("x", "y", "width", "height"))
    return Detection(
        box_xyxy=(x - width / 2, y - height / 2, x + width / 2, y + height / 2),
        score=prediction.share("confidence"),
        class_name=prediction.text("class"),
        class_id=prediction.whole("class_id"),
    )
