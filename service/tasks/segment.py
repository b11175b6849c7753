"""Post-process segmentation: report boxes, each with the mask of its object."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, PlainSerializer

from service.artifact.golden import Golden
from service.artifact.manifest import Manifest
from service.artifact.task_settings import SegmentSettings
from service.errors import ArtifactMismatch
from service.pipeline.letterbox import Letterbox
from service.pipeline.masks import Mask, object_mask
from service.pipeline.preprocess import Placed
from service.pipeline.rle import decode_rle, encode_rle, polygons
from service.request import MaskForm, ResolvedParams
from service.tasks.detect import Detections, Prediction, compare_golden, find, golden_rows, prediction_fields
from service.types import RawOutputs

_SAME_MASK_IOU = 0.99  # lowest IoU of a replayed mask with the golden one


class RleMask(BaseModel):
    """A mask as compressed COCO RLE; size is the height and width of the upright image."""

    size: tuple[int, int]
    counts: str


Point = tuple[float, float]


def _points(rings: list[NDArray[np.int32]]) -> list[list[Point]]:
    return [list(zip(*ring.T.astype(float).tolist(), strict=True)) for ring in rings]


class PolygonMask(BaseModel):
    """A mask as outlines along the edges of its pixels, filled together by the even-odd rule."""

    # Arrays (points, 2) until the answer is written, because lists of points need ten times their memory.
    polygon: Annotated[list[Any], PlainSerializer(_points, return_type=list[list[Point]])]


@dataclass(frozen=True)
class Segments:
    """The objects in one image and their masks, highest score first, in source pixels."""

    detections: Detections
    masks: tuple[RleMask | PolygonMask, ...]  # one for each detection; none with masks=off

    def __len__(self) -> int:
        """Return the number of objects."""
        return len(self.detections)


class MaskPrediction(Prediction):
    """One object with its mask; with masks=off the mask is left out."""

    mask: RleMask | PolygonMask | None = None


class SegmentTask:
    """The post-processing of one segmenter."""

    drawn_as: Literal["boxes", "labels"] = "boxes"

    def __init__(self, manifest: Manifest) -> None:
        """Create the post-processing for the model of a manifest."""
        assert isinstance(manifest.task_settings, SegmentSettings)
        self._manifest = manifest
        self._settings = manifest.task_settings

    def read(self, outputs: RawOutputs, params: ResolvedParams, placed: Placed) -> Segments:
        """Return the objects of one image; compute masks only for the objects that are returned."""
        assert isinstance(placed.place, Letterbox)
        found = find(self._manifest, outputs, params, placed)
        if params.masks == "off":
            return Segments(found.detections, ())
        prototypes = self._manifest.read(outputs, "prototypes")[0]
        coefficients = self._manifest.read(outputs, "mask_coefficients")[0][found.rows]
        masks = (
            object_mask(row, prototypes, box, placed.place, placed.source_hw, self._settings.mask_stride)
            for row, box in zip(coefficients, found.detections.boxes_xyxy, strict=True)
        )
        written = tuple(_written(mask, params.masks, placed.source_hw) for mask in masks)
        return Segments(found.detections, written)

    def count(self, result: Segments) -> int:
        """Return the number of objects."""
        return len(result)

    def describe(self, result: Segments) -> list[MaskPrediction]:
        """Return the predictions for the HTTP answer, highest confidence first."""
        fields = prediction_fields(result.detections, self._manifest)
        if not result.masks:
            return [MaskPrediction(**one) for one in fields]
        return [MaskPrediction(**one, mask=mask) for one, mask in zip(fields, result.masks, strict=True)]

    def compare(self, result: Segments, golden: Golden) -> None:
        """Compare the objects with those of the golden sample: boxes and scores, and masks by their IoU.

        Raises:
            ArtifactBroken: the sample has no detections or masks, or their arrays do not fit each other.
            ArtifactMismatch: a box, score or mask differs, or an object is missing or extra.
        """
        height, width = golden.image.shape[:2]
        packed = golden_rows(golden, "det_masks", (height, (width + 7) // 8))
        for row, i in compare_golden(result.detections, golden, self._manifest):
            want = np.unpackbits(packed[i].astype(np.uint8), axis=-1, count=width).astype(np.bool_)
            iou = _iou(_bitmap(result.masks[row]), want)
            if not iou >= _SAME_MASK_IOU:
                raise ArtifactMismatch("mask", 1 - iou, 1 - _SAME_MASK_IOU, f"detection {i}")


def _written(mask: Mask, form: MaskForm, size_hw: tuple[int, int]) -> RleMask | PolygonMask:
    if form == "polygon":
        return PolygonMask(polygon=polygons(mask))
    return RleMask(size=size_hw, counts=encode_rle(mask, size_hw))


def _bitmap(mask: RleMask | PolygonMask) -> NDArray[np.bool_]:
    assert isinstance(mask, RleMask)  # the golden sample is replayed with the default form
    return decode_rle(mask.counts, mask.size)


def _iou(got: NDArray[np.bool_], want: NDArray[np.bool_]) -> float:
    union = int((got | want).sum())
    return int((got & want).sum()) / union if union else 1.0  # two empty masks are equal
