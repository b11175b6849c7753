"""Match detections with labelled objects by overlap, to tell right detections from wrong ones."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.data.evaluation import Truth
from training.data.labels.rows import ANY_CLASS
from training.evaluate.detections import Detections
from training.evaluate.mean_ap import COCO_MAX_DETECTIONS

# N detections · M objects · R ignored regions · D detections of all images · C classes

Boxes = NDArray[np.float32]


class Matches(NamedTuple):
    """The detections of a data set, highest score first, each right or wrong, and the objects per class."""

    scores: NDArray[np.float32]  # (D,)
    class_ids: NDArray[np.int64]  # (D,)
    right: NDArray[np.bool_]  # (D,)
    objects: NDArray[np.int64]  # (C,)


def match_by_class(
    truths: Sequence[Truth], detections: Sequence[Detections], classes: int, iou: float = 0.5
) -> Matches:
    """Return which detections are right, by the rules of the COCO API.

    By descending score, each detection takes the object of its class that it overlaps most and that no other
    detection has taken. A detection that finds no such object is left out of the result if it is inside an
    ignored region; otherwise it is wrong.

    Args:
        truths, detections: labels and detections of the same images, in the same order.
        iou: the least overlap of a detection and its object, inclusive.
    """
    scores, class_ids, right = [], [], []
    for truth, found in zip(truths, detections, strict=True):
        overlaps = box_iou(found.boxes_xyxy, truth.boxes_xyxy)  # (N, M)
        overlaps[found.class_ids[:, None] != truth.class_ids[None]] = 0
        matched = np.zeros(len(found.scores), dtype=np.bool_)
        best_of_class = _best_of_class(found)
        overlaps[~best_of_class] = 0
        for row in np.argsort(-found.scores, kind="stable"):
            best = int(overlaps[row].argmax()) if overlaps.shape[1] else None
            if best is not None and overlaps[row, best] >= iou:
                matched[row] = True
                overlaps[:, best] = 0  # the object is taken
        counted = (matched | ~inside_ignored(found, truth, iou)) & best_of_class
        scores.append(found.scores[counted])
        class_ids.append(found.class_ids[counted])
        right.append(matched[counted])
    order = np.argsort(-np.concatenate(scores), kind="stable")
    every = np.concatenate([truth.class_ids for truth in truths])
    objects = np.bincount(every, minlength=classes)
    return Matches(
        np.concatenate(scores)[order], np.concatenate(class_ids)[order], np.concatenate(right)[order], objects
    )


def _best_of_class(found: Detections) -> NDArray[np.bool_]:
    """Return for each detection of an image whether the COCO API counts it, (N,).

    The API counts the 100 detections of each class with the highest scores.
    """
    best = np.zeros(len(found.scores), dtype=np.bool_)
    for class_id in np.unique(found.class_ids):
        mine = np.flatnonzero(found.class_ids == class_id)
        best[mine[np.argsort(-found.scores[mine], kind="stable")[:COCO_MAX_DETECTIONS]]] = True
    return best


def inside_ignored(found: Detections, truth: Truth, share: float) -> NDArray[np.bool_]:
    """Return for each detection whether at least `share` of its area is in an ignored region, (N,).

    A region counts if it is of the detection's class or of every class.
    """
    regions = truth.ignored_class_ids
    if regions is None:
        regions = np.full(len(truth.ignored_xyxy), ANY_CLASS)
    inside = (
        _shared(found.boxes_xyxy, truth.ignored_xyxy) / np.maximum(_area(found.boxes_xyxy), 1e-9)[:, None]
    )
    of_class = (regions[None] == ANY_CLASS) | (regions[None] == found.class_ids[:, None])  # (N, R)
    return np.asarray(((inside >= share) & of_class).any(axis=1))


def box_iou(one: Boxes, other: Boxes) -> NDArray[np.float64]:
    """Return the intersection over union of all pairs of boxes, (N, 4) and (M, 4) xyxy, as (N, M)."""
    shared = _shared(one, other)
    union = _area(one)[:, None] + _area(other)[None] - shared
    return np.asarray(shared / np.maximum(union, 1e-9))


def _shared(one: Boxes, other: Boxes) -> NDArray[np.float64]:
    a, b = one.astype(np.float64)[:, None], other.astype(np.float64)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    return np.asarray(sides.clip(0).prod(axis=-1))


def _area(boxes: Boxes) -> NDArray[np.float64]:
    return np.asarray((boxes[:, 2:].astype(np.float64) - boxes[:, :2]).clip(0).prod(axis=1))
