"""Segment objects by requesting boxes and masks from the service or from Triton's ensemble.

The service and the ensemble compute masks in the same way. They compute them from prototypes, where one value
covers several pixels of the model input, and directly in the size of the image. So a request to the ensemble
states this size. If the ensemble made masks in the size of the model input, and the client resized them, they
would differ from the masks of the service. For objects of 8 to 16 pixels in the model input, the mean IoU of
an object's two masks would be about 0.93.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import BadParameter, ManifestMismatch
from ..facts import Facts
from ..manifest import Manifest
from ..parameters import Classes, Confidence, given
from ..rle import decode_rle, fill_polygons, run_lengths
from ..tensors import Tensors
from .boxes import BoxParams, Detections, found_in
from .calls import AsyncCaller, Caller, Image
from .ensemble import EnsembleQuestion, question_fields

MaskForm = Literal["rle", "polygon", "off"]

_MASKS = "masks"  # output of the ensemble
_HEIGHT, _WIDTH = "image_height", "image_width"  # parameters of a request to the ensemble


@dataclass(frozen=True, kw_only=True, eq=False)
class Segments(Detections):
    """The objects in one image and their masks, best first."""

    encoded_masks: tuple[dict[str, Any], ...] | None  # N, as in the service's answer; None with masks="off"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.encoded_masks is not None and len(self.encoded_masks) != len(self):
            raise ValueError(f"{len(self.encoded_masks)} masks do not fit {len(self)} objects")

    def masks(self) -> NDArray[np.bool_]:
        """Return the masks in source pixels, (N, H, W); each call decodes them again.

        Raises:
            ValueError: the answer has no masks, or a mask that cannot be read.
        """
        if self.encoded_masks is None:
            raise ValueError('there are no masks; leave out masks="off" in the call')
        found = np.zeros((len(self), *self.image_hw), dtype=np.bool_)
        for row, mask in enumerate(found):
            mask[:] = self.mask(row)
        return found

    def mask(self, row: int) -> NDArray[np.bool_]:
        """Return the mask of one object in source pixels, (H, W).

        The masks of many objects can need gigabytes, so read them one by one.

        Raises:
            ValueError: the answer has no masks, or the mask cannot be read.
        """
        if self.encoded_masks is None:
            raise ValueError('there are no masks; leave out masks="off" in the call')
        mask = self.encoded_masks[row]
        if "polygon" in mask:
            return fill_polygons(mask["polygon"], self.image_hw)
        return decode_rle(mask["counts"], self.image_hw)

    def predictions(self) -> list[dict[str, Any]]:
        """Return the objects as dicts, as in the service's answer."""
        rows = super().predictions()
        if self.encoded_masks is None:
            return rows
        return [{**row, "mask": mask} for row, mask in zip(rows, self.encoded_masks, strict=True)]

    def to_supervision(self) -> Any:
        """Return the objects as supervision.Detections, with masks if the answer has them.

        Raises:
            NotInstalled: the package supervision is not installed.
        """
        found = super().to_supervision()
        if self.encoded_masks is not None and len(self):
            found.mask = self.masks()
        return found


@dataclass(frozen=True, kw_only=True)
class SegmentParams(BoxParams):
    """The parameters of a segmentation call; a field that is None stands for the model's default."""

    task: ClassVar[str] = "segment"

    masks: MaskForm | None = None

    def ask(self, image: bytes | NDArray[Any], manifest: Manifest) -> "SegmentQuestion":
        """Return the request to Triton: the resized image, with the model's defaults for missing parameters.

        Args:
            image: an image file's bytes, or (H, W, 3) uint8 RGB pixels.
            manifest: manifest of the model.

        Raises:
            BadImage: the file cannot be decoded, or the array is no image.
            BadParameter: `masks` is neither rle nor off; DetectParams.ask lists the other reasons.
            ManifestMismatch: the manifest lacks an entry that segmentation needs, or an entry is invalid.
        """
        if self.masks == "polygon":
            sentence = 'masks="polygon" needs the service; Triton writes masks as run lengths (masks="rle")'
            raise BadParameter("masks", sentence)
        if self.masks not in (None, "rle", "off"):
            raise BadParameter("masks", f"masks={self.masks!r} cannot be used; give rle or off")
        fields = question_fields(self, image, manifest, "mask_coefficients", "prototypes")
        return SegmentQuestion(**fields, with_masks=self.masks != "off")

    def query(self) -> dict[str, str | float]:
        """Return these parameters as the query of `POST /detect`; leave out parameters that are None."""
        return super().query() | ({} if self.masks is None else {"masks": self.masks})

    def read(self, answer: Facts) -> Segments:
        """Return the objects and their masks, read from the service's answer.

        Raises:
            ValueError: a member of the answer is missing, or has another type.
            WrongTask: the predictions belong to another task.
        """
        off = self.masks == "off"  # these predictions look like those of a detector
        found = found_in(answer, "segment", *(["detect"] if off else []))
        if off:
            return Segments(**found, encoded_masks=None)
        masks = [prediction.part("mask") for prediction in answer.parts("predictions")]
        return Segments(**found, encoded_masks=tuple(_checked(mask, found["image_hw"]) for mask in masks))


@dataclass(frozen=True, kw_only=True)
class SegmentQuestion(EnsembleQuestion):
    """A request for masks to Triton's ensemble, with one image and its parameters."""

    with_masks: bool

    @property
    def parameters(self) -> Mapping[str, int]:
        """Return the size of the image, for which the ensemble makes the masks."""
        height, width = self.canvas.image_hw
        return {_HEIGHT: height, _WIDTH: width} if self.with_masks else {}

    def own_outputs(self, count: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Return the type and shape of the output with `count` masks; an empty dict with masks="off"."""
        return {_MASKS: ("object", (count,))} if self.with_masks else {}

    def read(self, outputs: Tensors) -> Segments:
        """Return the objects and their masks, in source pixels, and the experts that ran.

        Raises:
            ManifestMismatch: an output is missing, its shape or type differs from the manifest, or a mask
                does not have the size of the image because Triton has the files of an older export.
        """
        fields, rows = self.found(outputs)
        if not self.with_masks:
            return Segments(**fields, encoded_masks=None)
        masks = outputs[_MASKS][rows].tolist()
        return Segments(**fields, encoded_masks=tuple(self._mask(mask) for mask in masks))

    def _mask(self, mask: bytes) -> dict[str, Any]:
        size, counts = self.canvas.image_hw, mask.decode("latin-1")
        try:
            run_lengths(counts, size)
        except ValueError as error:
            raise ManifestMismatch(self.model, f"a mask does not fit the image ({error})") from error
        return {"size": list(size), "counts": counts}


def _checked(mask: Facts, image_hw: tuple[int, int]) -> dict[str, Any]:
    if mask.has("polygon"):
        return {"polygon": mask.list_of("polygon", list, empty=True)}
    size = mask.list_of("size", int)
    if tuple(size) != image_hw:
        raise ValueError(f"the mask's size {size} is not that of the image, {list(image_hw)}")
    return {"size": size, "counts": mask.text("counts")}


class SegmentCalls(Caller):
    """The method `segment` of synchronous clients."""

    def segment(
        self,
        image: Image,
        *,
        masks: MaskForm | None = None,
        conf: Confidence | None = None,
        iou: float | None = None,
        max_det: int | None = None,
        classes: Classes | None = None,
        **controls: float | None,
    ) -> Segments:
        """Return the objects in an image with their masks.

        A parameter that is left out gets the model's default.

        Args:
            image: an image file's bytes, or (H, W, 3) uint8 RGB pixels.
            masks: form in which masks are sent: rle (the default), polygon, or off for no masks. A Triton
                client accepts only rle and off.
            conf: lowest score to report; see `detect`.
            iou: IoU above which two boxes of one class count as one object, 0..1.
            max_det: maximum number of objects, 1..10,000.
            classes: names or ids of the classes to report; None for all classes.
            controls: values for controls of the model, by name; see `detect`.

        Raises:
            ClientError: the call failed; the message says what to do.
        """
        params = SegmentParams(
            masks=masks, conf=conf, iou=iou, max_det=max_det, classes=classes, controls=given(controls)
        )
        return self._run(image, params)


class AsyncSegmentCalls(AsyncCaller):
    """The method `segment` of asyncio clients."""

    async def segment(
        self,
        image: Image,
        *,
        masks: MaskForm | None = None,
        conf: Confidence | None = None,
        iou: float | None = None,
        max_det: int | None = None,
        classes: Classes | None = None,
        **controls: float | None,
    ) -> Segments:
        """Return the objects in an image with their masks; see SegmentCalls.segment."""
        params = SegmentParams(
            masks=masks, conf=conf, iou=iou, max_det=max_det, classes=classes, controls=given(controls)
        )
        return await self._run(image, params)
