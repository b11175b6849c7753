"""Match detections with labelled objects by overlap, to tell right detections from wrong ones."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.data.evaluation import Truth
from training.data.labels.rows import ANY_CLASS
from training.evaluate.detections import Detections
from training.evaluate.mean_ap import COCO_MAX_DETECTIONS, COCO_MAX_POSES
from training.evaluate.objects.boxes import BOXES
from training.evaluate.objects.kind import ObjectKind

# N detections · M objects · R ignored regions · D detections of all images · C classes


class Matches(NamedTuple):
    """The detections of a data set, highest score first, each right or wrong, and the objects per class."""

    scores: NDArray[np.float32]  # (D,)
    class_ids: NDArray[np.int64]  # (D,)
    right: NDArray[np.bool_]  # (D,)
    objects: NDArray[np.int64]  # (C,)


def match_by_class(
    truths: Sequence[Truth],
    detections: Sequence[Detections],
    classes: int,
    iou: float = 0.5,
    *,
    kind: ObjectKind = BOXES,
) -> Matches:
    """Return which detections are right, by the rules of the COCO API.

    By descending score, each detection takes the object of its class that it overlaps most and that no other
    detection has taken. A detection that finds no such object is left out of the result if it is inside an
    ignored region; otherwise it is wrong.

    Args:
        truths, detections: labels and detections of the same images, in the same order.
        iou: the least overlap of a detection and its object, inclusive.
        kind: what overlaps: boxes, masks, keypoints or corners.
    """
    scores, class_ids, right = [], [], []
    most = COCO_MAX_POSES if kind.name == "keypoints" else COCO_MAX_DETECTIONS
    for truth, found in zip(truths, detections, strict=True):
        overlaps = kind.overlaps(found, truth)  # (N, M)
        overlaps[found.class_ids[:, None] != truth.class_ids[None]] = 0
        matched = np.zeros(len(found.scores), dtype=np.bool_)
        best_of_class = _best_of_class(found, most)
        overlaps[~best_of_class] = 0
        for row in np.argsort(-found.scores, kind="stable"):
            best = int(overlaps[row].argmax()) if overlaps.shape[1] else None
            if best is not None and overlaps[row, best] >= iou:
                matched[row] = True
                overlaps[:, best] = 0  # the object is taken
        counted = (matched | ~inside_ignored(found, truth, iou, kind)) & best_of_class
        scores.append(found.scores[counted])
        class_ids.append(found.class_ids[counted])
        right.append(matched[counted])
    order = np.argsort(-np.concatenate(scores), kind="stable")
    every = np.concatenate([truth.class_ids for truth in truths])
    objects = np.bincount(every, minlength=classes)
    return Matches(
        np.concatenate(scores)[order], np.concatenate(class_ids)[order], np.concatenate(right)[order], objects
    )


def _best_of_class(found: Detections, most: int) -> NDArray[np.bool_]:
    """Return for each detection of an image whether the COCO API counts it, (N,).

    The API counts the `most` detections of each class with the highest scores.
    """
    best = np.zeros(len(found.scores), dtype=np.bool_)
    for class_id in np.unique(found.class_ids):
        mine = np.flatnonzero(found.class_ids == class_id)
        best[mine[np.argsort(-found.scores[mine], kind="stable")[:most]]] = True
    return best


def inside_ignored(found: Detections, truth: Truth, share: float, kind: ObjectKind) -> NDArray[np.bool_]:
    """Return for each detection whether at least `share` of it is in an ignored region, (N,).

    A region counts if it is of the detection's class or of every class.
    """
    regions = truth.ignored_class_ids
    if regions is None:
        regions = np.full(len(truth.ignored_xyxy), ANY_CLASS)
    inside = kind.shares_ignored(found, truth)  # (N, R)
    of_class = (regions[None] == ANY_CLASS) | (regions[None] == found.class_ids[:, None])
    return np.asarray(((inside >= share) & of_class).any(axis=1))
