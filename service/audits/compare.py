"""Compare the audited answer for one image with the reference's answer, for every task."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from service.artifact.manifest import Manifest
from service.audits.boxes import BoxComparison, BoxRules, compare_boxes
from service.audits.experts import compare_experts
from service.audits.limits import Limits
from service.audits.verdict import Difference, Verdict
from service.pipeline.letterbox import Letterbox
from service.pipeline.rle import decode_rle
from service.request import ResolvedParams
from service.tasks.choose import Result
from service.tasks.classify import Classes
from service.tasks.detect import Detections
from service.tasks.obb import OrientedBoxes
from service.tasks.pose import Poses
from service.tasks.segment import RleMask, Segments
from service.types import ExpertActivation, PathChoice

_BOXES_SHARE = 0.1  # of an image's boxes: a larger share must differ for the image to count
_MASKS = 8  # masks compared for one image, since decoding the masks of large images is slow
_VISIBLE = 0.5  # lowest visibility at which keypoints are compared
_LONG = 1.2  # lowest ratio of a box's sides at which its angle is compared


@dataclass(frozen=True)
class Compared:
    """One answer for an image: the predictions and the experts."""

    result: Result
    experts: Sequence[ExpertActivation]
    path: PathChoice | None = None  # None: the model has no paths


@dataclass(frozen=True)
class Image:
    """What the comparison must know about the image and its request."""

    manifest: Manifest  # of the audited version
    params: ResolvedParams
    image_hw: tuple[int, int]


def compare(got: Compared, want: Compared, image: Image, limits: Limits) -> Verdict:
    """Return the verdict on an audited answer; `want` is the reference's answer for the same image."""
    threshold = image.params.controls.get("weight_threshold")
    if got.path is not None and want.path is not None and got.path.index != want.path.index:
        return _of_paths(got.path, want.path, limits.router)
    experts = compare_experts(got.experts, want.experts, tie=limits.router, threshold=threshold)
    differences, objects = _compare_results(got.result, want.result, image, limits)
    agrees = not experts and len(differences) <= _BOXES_SHARE * objects
    return Verdict((*experts, *differences), agrees)


def is_finite(answer: Compared) -> bool:
    """Return whether an answer has no NaN or infinity, so that other answers can be compared with it."""
    result = answer.result
    boxes = detections_of(result)
    numbers = [result.scores] if isinstance(result, Classes) else []
    numbers += [boxes.boxes_xyxy, boxes.scores] if boxes is not None else []
    routers = [np.array(layer.probabilities) for layer in answer.experts]
    routers += [] if answer.path is None else [np.array(answer.path.probabilities)]
    return all(bool(np.isfinite(one).all()) for one in (*numbers, *routers))


def _of_paths(got: PathChoice, want: PathChoice, tie: float) -> Verdict:
    """Return the verdict on two answers that took different paths, and so ran different networks.

    The predictions of different networks are not compared. The answers agree if the reference's router gave
    both paths nearly the same probability.
    """
    by = want.probabilities[want.index] - want.probabilities[got.index]
    differences = () if by <= tie else (Difference("experts", "path", round(by, 6), tie),)
    return Verdict(differences, not differences)


def detections_of(result: Result) -> Detections | None:
    """Return the boxes of a result; None for classes."""
    if isinstance(result, Classes):
        return None
    return result if isinstance(result, Detections) else result.detections


def _compare_results(got: Result, want: Result, image: Image, limits: Limits) -> tuple[list[Difference], int]:
    """Return the differences of two results of one task, and the number of objects that could differ."""
    if isinstance(got, Classes) and isinstance(want, Classes):
        return _compare_classes(got, want, image.manifest.class_names, limits.score), 0
    ours, theirs = detections_of(got), detections_of(want)
    assert ours is not None, "both results are of one task"
    assert theirs is not None, "both results are of one task"
    scale = Letterbox.fit(image.image_hw, image.manifest.images.canvas_hw).scale
    boxes = compare_boxes(ours, theirs, _rules(image, limits, scale))
    differences = [*boxes.differences, *_compare_shapes(got, want, boxes, limits, scale)]
    return differences, max(len(ours), len(theirs))


def _rules(image: Image, limits: Limits, scale: float) -> BoxRules:
    params = image.params

    def conf(class_id: int) -> float:
        return float(params.class_conf.get(class_id, params.values["conf"]))

    return BoxRules(
        pixels=limits.pixels / scale,
        score=limits.score,
        conf=conf,
        max_det=int(params.values["max_det"]),
        agnostic=params.agnostic_nms,
        names=image.manifest.class_names,
    )


def _compare_classes(got: Classes, want: Classes, names: Sequence[str], limit: float) -> list[Difference]:
    """Compare probabilities; a class in only one list must be about as improbable as the other's last one."""
    ours = dict(zip(got.class_ids.tolist(), got.scores.tolist(), strict=True))
    theirs = dict(zip(want.class_ids.tolist(), want.scores.tolist(), strict=True))
    last = (min(ours.values(), default=0.0), min(theirs.values(), default=0.0))
    differences = []
    for class_id in ours.keys() | theirs.keys():
        if class_id in ours and class_id in theirs:
            by = abs(ours[class_id] - theirs[class_id])
        else:
            by = ours[class_id] - last[1] if class_id in ours else theirs[class_id] - last[0]
        if not by <= limit:
            size = round(by, 6) if math.isfinite(by) else None
            differences.append(Difference("class", names[class_id], size, limit))
    return differences


def _compare_shapes(
    got: Result, want: Result, boxes: BoxComparison, limits: Limits, scale: float
) -> list[Difference]:
    """Compare masks, keypoints or angles of the paired boxes."""
    found: list[Difference | None] = []
    if isinstance(got, Segments) and isinstance(want, Segments) and got.masks and want.masks:
        found += [_mask(got, want, pair, limits.mask) for pair in boxes.pairs[:_MASKS]]
    elif isinstance(got, Poses) and isinstance(want, Poses):
        found += [_keypoint(got, want, pair, limits.keypoint / scale) for pair in boxes.pairs]
    elif isinstance(got, OrientedBoxes) and isinstance(want, OrientedBoxes):
        found += [_angle(got, want, pair, limits.angle) for pair in boxes.pairs]
    return [one for one in found if one is not None]


def _mask(got: Segments, want: Segments, pair: tuple[int, int], limit: float) -> Difference | None:
    one, other = got.masks[pair[0]], want.masks[pair[1]]
    if not isinstance(one, RleMask) or not isinstance(other, RleMask):
        return None  # outlines have no IoU without filling them; the boxes are compared
    ours, theirs = decode_rle(one.counts, one.size), decode_rle(other.counts, other.size)
    union = int((ours | theirs).sum())
    by = 1 - int((ours & theirs).sum()) / union if union else 0.0
    return None if by <= limit else Difference("mask", f"box {pair[1]}", round(by, 6), limit)


def _keypoint(got: Poses, want: Poses, pair: tuple[int, int], limit: float) -> Difference | None:
    ours, theirs = got.keypoints[pair[0]].astype(np.float64), want.keypoints[pair[1]].astype(np.float64)
    seen = (ours[:, 2] >= _VISIBLE) & (theirs[:, 2] >= _VISIBLE)
    by = float(np.abs(ours[seen, :2] - theirs[seen, :2]).max(initial=0.0))
    if by <= limit:
        return None
    return Difference("keypoint", f"box {pair[1]}", round(by, 3) if math.isfinite(by) else None, limit)


def _angle(got: OrientedBoxes, want: OrientedBoxes, pair: tuple[int, int], limit: float) -> Difference | None:
    left, top, right, bottom = want.detections.boxes_xyxy[pair[1]].astype(float).tolist()
    width, height = right - left, bottom - top
    if max(width, height) < _LONG * min(width, height):
        return None  # rounding may turn a box that is nearly square by a right angle
    by = abs(math.remainder(float(got.angles[pair[0]]) - float(want.angles[pair[1]]), math.pi))
    return None if by <= limit else Difference("angle", f"box {pair[1]}", round(by, 6), limit)
