"""Post-process detection: report boxes, each with a class and a confidence."""

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from service.artifact.golden import Golden
from service.artifact.manifest import Manifest
from service.artifact.task_settings import DetectSettings
from service.artifact.tensors import Tolerance
from service.errors import ArtifactBroken, ArtifactMismatch
from service.pipeline.letterbox import Letterbox
from service.pipeline.postprocess import kept_in_source, select_candidates
from service.pipeline.preprocess import Placed
from service.request import ResolvedParams
from service.types import Candidates, RawOutputs

_SAME_OBJECT_IOU = 0.5  # lowest IoU that pairs a replayed box with a golden box


@dataclass(frozen=True)
class Detections:
    """Detections in one image, highest score first, in source pixels."""

    boxes_xyxy: NDArray[np.float32]  # (N, 4)
    scores: NDArray[np.float32]  # (N,)  0..1
    class_ids: NDArray[np.int64]  # (N,)

    def __post_init__(self) -> None:
        n = len(self.scores)
        if self.boxes_xyxy.shape != (n, 4) or self.class_ids.shape != (n,):
            raise ValueError(f"{self.boxes_xyxy.shape=} {self.class_ids.shape=} do not fit {n=}")

    def __len__(self) -> int:
        """Return the number of detections."""
        return len(self.scores)


class Prediction(BaseModel):
    """One object; x and y are the centre of its box. All lengths are in pixels of the upright image."""

    model_config = ConfigDict(validate_by_name=True, serialize_by_alias=True)

    x: float
    y: float
    width: float
    height: float
    class_name: Annotated[str, Field(alias="class")]
    class_id: int
    confidence: Annotated[float, Field(ge=0, le=1)]


class DetectTask:
    """The post-processing of one detector."""

    drawn_as: Literal["boxes", "labels"] = "boxes"

    def __init__(self, manifest: Manifest) -> None:
        """Create the post-processing for the model of a manifest."""
        assert isinstance(manifest.task_settings, DetectSettings)
        self._manifest = manifest

    def read(self, outputs: RawOutputs, params: ResolvedParams, placed: Placed) -> Detections:
        """Return the detections of one image, in pixels of the source image."""
        return find(self._manifest, outputs, params, placed).detections

    def count(self, result: Detections) -> int:
        """Return the number of detected objects."""
        return len(result)

    def describe(self, result: Detections) -> list[Prediction]:
        """Return the predictions for the HTTP answer, highest confidence first."""
        return [Prediction(**fields) for fields in prediction_fields(result, self._manifest)]

    def compare(self, result: Detections, golden: Golden) -> None:
        """Compare the detections with those of the golden sample.

        Raises:
            ArtifactBroken: the sample has no detections, or their arrays do not fit each other.
            ArtifactMismatch: a box or score differs, or a detection is missing or extra.
        """
        compare_golden(result, golden, self._manifest)


@dataclass(frozen=True)
class Found:
    """The detections in one image, and for each its row in the graph's outputs."""

    detections: Detections
    rows: NDArray[np.int64]  # (N,) of the outputs that have one row for each box


def candidates_in(manifest: Manifest, outputs: RawOutputs) -> tuple[Candidates, NDArray[np.int64]]:
    """Return the best boxes before suppression, best first, and the row of each in the graph's outputs.

    If the manifest's `selection` is "service", this function selects the boxes; otherwise, the graph has
    selected them. The boxes are in pixels of the model input.
    """
    settings = manifest.task_settings
    assert isinstance(settings, DetectSettings)
    boxes_xyxy = manifest.read(outputs, "boxes_xyxy")[0]
    if settings.selection == "graph":
        scores, class_ids = manifest.read(outputs, "scores")[0], manifest.read(outputs, "class_ids")[0]
        return Candidates(boxes_xyxy, scores, class_ids.astype(np.int64)), np.arange(len(scores))
    return select_candidates(boxes_xyxy, manifest.read(outputs, "class_scores")[0], settings.candidates)


def find(
    manifest: Manifest,
    outputs: RawOutputs,
    params: ResolvedParams,
    placed: Placed,
    angles: NDArray[np.floating] | None = None,
) -> Found:
    """Return the detections of one image in source pixels.

    Args:
        manifest: manifest of the model.
        outputs: the graph's outputs by name, for a batch of one image.
        params: the resolved parameters of the request.
        placed: the image in the model input.
        angles: for a model with rotated boxes, the angle of each row of the outputs, in radians, clockwise.
            Rotated boxes are not clipped to the image.
    """
    assert isinstance(placed.place, Letterbox)
    candidates, places = candidates_in(manifest, outputs)
    if angles is not None:
        candidates = replace(candidates, angles=angles[places])
    kept = kept_in_source(
        candidates,
        placed.place,
        placed.source_hw,
        conf=params.values["conf"],
        iou=params.values["iou"],
        max_det=int(params.values["max_det"]),
        class_ids=params.class_ids,
        class_conf=params.class_conf,
        agnostic=params.agnostic_nms,
    )
    scores, class_ids = candidates.scores[kept.rows], candidates.class_ids[kept.rows]
    return Found(Detections(kept.boxes_xyxy, scores, class_ids), places[kept.rows])


def prediction_fields(detections: Detections, manifest: Manifest) -> list[dict[str, Any]]:
    """Return the field values of the Prediction of each detection, highest confidence first."""
    names = manifest.class_names
    rows = zip(
        detections.boxes_xyxy.astype(float).tolist(),
        detections.scores.astype(float).tolist(),
        detections.class_ids.tolist(),
        strict=True,
    )
    return [
        {
            "x": round((left + right) / 2, 3),
            "y": round((top + bottom) / 2, 3),
            "width": round(right - left, 3),
            "height": round(bottom - top, 3),
            "class_name": names[class_id],
            "class_id": class_id,
            "confidence": round(score, 6),
        }
        for (left, top, right, bottom), score, class_id in rows
    ]


def compare_golden(result: Detections, golden: Golden, manifest: Manifest) -> list[tuple[int, int]]:
    """Compare detections with the golden detections; return the matching rows as pairs (result, golden).

    Raises:
        ArtifactBroken: the sample has no detections, or their arrays do not fit each other.
        ArtifactMismatch: a box or score differs, or a detection is missing or extra.
    """
    settings = manifest.task_settings
    assert isinstance(settings, DetectSettings)
    boxes, scores_of, ids = (golden.answer(f"det_{part}") for part in ("boxes_xyxy", "scores", "class_ids"))
    try:
        want = Detections(
            boxes.astype(np.float32).reshape(-1, 4), scores_of.astype(np.float32), ids.astype(np.int64)
        )
    except ValueError as error:
        raise ArtifactBroken(f"{golden.where}: its detections cannot be read: {error}") from error
    scores = "scores" if settings.selection == "graph" else "class_scores"
    return compare_detections(
        result,
        want,
        conf=float(manifest.golden.params.get("conf", settings.defaults.conf)),
        boxes=manifest.output("boxes_xyxy").tolerance,
        scores=manifest.output(scores).tolerance,
    )


def golden_rows(golden: Golden, name: str, sizes: tuple[int, ...]) -> NDArray[Any]:
    """Return an array of the golden sample: for each golden detection, one row with the shape `sizes`.

    Raises:
        ArtifactBroken: the array is missing or has another shape.
    """
    array, shape = golden.answer(name), (len(golden.answer("det_scores")), *sizes)
    if array.shape != shape:
        raise ArtifactBroken(f"{golden.where}: {name} is {array.shape}, not {shape}")
    return array


def compare_detections(
    got: Detections, want: Detections, *, conf: float, boxes: Tolerance, scores: Tolerance
) -> list[tuple[int, int]]:
    """Compare two sets of detections, matched by class and IoU; return the pairs (row of got, of want).

    The function does not match detections by row, because detections with equal scores can be in either
    order.

    A detection may be missing in one of the sets if its score differs from `conf` by no more than the
    tolerance.

    Raises:
        ArtifactMismatch: a box or score differs, or a detection is missing or extra.
    """
    free = np.ones(len(got), dtype=bool)
    at_conf = float(scores.limits(np.array(conf)))
    pairs: list[tuple[int, int]] = []
    for i in range(len(want)):
        same = free & (got.class_ids == want.class_ids[i])
        ious = np.where(same, _ious(want.boxes_xyxy[i], got.boxes_xyxy), 0.0)
        best = int(ious.argmax()) if len(ious) else -1
        if best < 0 or not ious[best] >= _SAME_OBJECT_IOU:
            if not abs(want.scores[i] - conf) <= at_conf:
                raise ArtifactMismatch("detections", 1.0, 0.0, f"golden detection {i} was not found")
            continue
        free[best] = False
        pairs.append((best, i))
        _compare_pair(got, best, want, i, (boxes, scores))
    for extra in np.flatnonzero(free):
        if not abs(got.scores[extra] - conf) <= at_conf:
            raise ArtifactMismatch("detections", 1.0, 0.0, f"detection {extra} is not in the golden sample")
    return pairs


def _compare_pair(
    got: Detections, best: int, want: Detections, i: int, tolerances: tuple[Tolerance, Tolerance]
) -> None:
    boxes, scores = tolerances
    limits = boxes.limits(want.boxes_xyxy[i])
    errors = np.abs(got.boxes_xyxy[best].astype(np.float64) - want.boxes_xyxy[i])
    worst = int(np.argmax(errors - limits))
    if not np.all(errors <= limits):
        raise ArtifactMismatch("box", float(errors[worst]), float(limits[worst]), f"detection {i}")
    score_error = abs(float(got.scores[best]) - float(want.scores[i]))
    score_limit = float(scores.limits(want.scores[i]))
    if not score_error <= score_limit:
        raise ArtifactMismatch("score", score_error, score_limit, f"detection {i}")


def _ious(box_xyxy: NDArray[np.float32], boxes_xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
    top_left = np.maximum(box_xyxy[:2], boxes_xyxy[:, :2])
    bottom_right = np.minimum(box_xyxy[2:], boxes_xyxy[:, 2:])
    overlap = np.clip(bottom_right - top_left, 0, None).prod(axis=1)
    area = (box_xyxy[2:] - box_xyxy[:2]).prod()
    areas = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(axis=1)
    ious: NDArray[np.float32] = overlap / np.maximum(area + areas - overlap, np.finfo(np.float32).tiny)
    return ious
