"""Detect objects: request boxes from the service, or from Triton's ensemble `<model>-<target>-detect`.

Boxes are in pixels of the source image. The ensemble runs the graph and then non-maximum suppression (NMS).
So a client that calls Triton directly only resizes the image, and maps boxes back to the source image.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import BadParameter, ManifestMismatch
from ..facts import Facts
from ..letterbox import Letterbox
from ..manifest import Manifest
from ..parameters import (
    Classes,
    Confidence,
    class_ids,
    confidences,
    given,
    resolve_controls,
    share,
    whole,
)
from ..tensors import Canvas, Tensors, check, common, graph_inputs, graph_name, routing_outputs, rows_of
from .boxes import BoxParams, Detections, found_in
from .calls import AsyncCaller, Caller, Image

_MOST_DETECTIONS = 10_000  # highest max_det; the service has the same limit
# Tensors that the ensemble has in addition to the graph's tensors.
_CONF, _IOU, _MAX_DET = "conf", "iou", "max_det"
_BOXES, _SCORES, _CLASS_IDS = "boxes", "scores", "class_ids"


@dataclass(frozen=True, kw_only=True)
class DetectParams(BoxParams):
    """The parameters of a detection call; a field that is None stands for the model's default."""

    task: ClassVar[str] = "detect"

    def ask(self, image: bytes | NDArray[Any], manifest: Manifest) -> "DetectQuestion":
        """Return the question to Triton: the resized image, with the model's defaults for missing parameters.

        Args:
            image: an image file's bytes, or (H, W, 3) uint8 RGB pixels.
            manifest: manifest of the model.

        Raises:
            BadImage: the file cannot be decoded, or the array is no image.
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
