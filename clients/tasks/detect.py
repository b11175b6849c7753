"""Detect objects by requesting boxes from the service or from Triton's ensemble `<model>-<target>-detect`.

Boxes are in pixels of the source image.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from numpy.typing import NDArray

from ..facts import Facts
from ..manifest import Manifest
from ..parameters import Classes, Confidence, given
from ..tensors import Tensors
from .boxes import BoxParams, Detections, found_in
from .calls import AsyncCaller, Caller, Image
from .ensemble import EnsembleQuestion, question_fields


@dataclass(frozen=True, kw_only=True)
class DetectParams(BoxParams):
    """The parameters of a detection call; a field that is None stands for the model's default."""

    task: ClassVar[str] = "detect"

    def ask(self, image: bytes | NDArray[Any], manifest: Manifest) -> "DetectQuestion":
        """Return the request to Triton: the resized image, with the model's defaults for missing parameters.

        Args:
            image: an image file's bytes, or (H, W, 3) uint8 RGB pixels.
            manifest: manifest of the model.

        Raises:
            BadImage: the file cannot be decoded, or the array is no image.
            BadParameter: a value is out of range, the call names a class or control that the model lacks, or
                agnostic_nms is true; the ensemble can only suppress boxes of the same class.
            ManifestMismatch: the manifest lacks an entry that detection needs, or an entry is invalid.
        """
        return DetectQuestion(**question_fields(self, image, manifest))

    def read(self, answer: Facts) -> Detections:
        """Return the detections, read from the service's answer.

        Raises:
            ValueError: a member of the answer is missing, or has another type.
            WrongTask: the predictions belong to another task.
        """
        return Detections(**found_in(answer, "detect"))


class DetectQuestion(EnsembleQuestion):
    """A request for boxes to Triton's ensemble, with one image and its parameters."""

    def read(self, outputs: Tensors) -> Detections:
        """Return the detections, in source pixels, and the experts that ran, from the ensemble's outputs.

        Raises:
            ManifestMismatch: an output is missing, or its shape or type differs from the manifest.
        """
        return Detections(**self.found(outputs).fields)


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
            conf: lowest score to report, 0..1. The text "0.3,fish:0.4" sets 0.4 for fish and 0.3 for all
                other classes.
            iou: IoU above which two boxes of one class count as one object, 0..1.
            max_det: maximum number of detections, 1..10,000.
            classes: names or ids of the classes to report; None for all classes.
            agnostic_nms: whether overlapping boxes of different classes count as one object. A Triton client
                accepts only False or None.
            controls: values for controls of the model, by name. Models with experts have two controls. top_k
                is the number of experts per image and layer. weight_threshold is the probability below which
                an expert does not run; the most probable expert always runs.

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
