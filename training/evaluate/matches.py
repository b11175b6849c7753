"""Match detections with labelled objects by overlap, to tell right detections from wrong ones."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.data.evaluation import Truth
from training.data.labels.rows import ANY_CLASS
from training.evaluate.detections import Detections
from training.evaluate.mean_ap import coco_max_detections
from training.evaluate.objects.boxes import BOXES
from training.evaluate.objects.kind import ObjectKind

# N detections · M objects · R ignored regions · D detections of all images · C classes


class Matches(NamedTuple):
    """The detections of a data set, highest score first, and the number of objects of each class.

    Each detection is marked as right or wrong.
    """

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

    Detections are matched by descending score. Each detection is matched with the object of its class that it
    overlaps most, among the objects that no earlier detection is matched with. A detection without such an
    object is left out of the result if it is inside an ignored region; otherwise it is wrong. In keypoint
    labels, objects without labelled keypoints do not count. A detection is matched with such an object only
    if it overlaps no other free object enough. The detection is then left out of the result.

    Args:
        truths, detections: labels and detections of the same images, in the same order.
        iou: the least overlap of a detection and its object, inclusive.
        kind: the kind of objects whose overlap counts: boxes, masks, keypoints or corners.
    """
    scores, class_ids, right = [], [], []
    most = coco_max_detections(kind)
    for truth, found in zip(truths, detections, strict=True):
        overlaps = kind.overlaps(found, truth)  # (N, M)
        overlaps[found.class_ids[:, None] != truth.class_ids[None]] = 0
        counts = kind.counted(truth)
        shares = ignored_shares(found, truth, kind)
        matched, left_out = np.zeros(len(found.scores), dtype=np.bool_), shares >= iou
        best_of_class = _best_of_class(found, most)
        overlaps[~best_of_class] = 0
        for row in np.argsort(-found.scores, kind="stable"):
            fitting = np.flatnonzero(overlaps[row] >= iou)
            if not len(fitting):
                continue
            best = fitting[
                np.lexsort((overlaps[row, fitting], counts[fitting]))[-1]
            ]  # of equal ones, the last
            matched[row] = counts[best]
            if counts[best] or shares[row] < overlaps[row, best]:
                overlaps[:, best] = 0  # the object is taken
                left_out[row] = not counts[best]
        kept = (matched | ~left_out) & best_of_class
        scores.append(found.scores[kept])
        class_ids.append(found.class_ids[kept])
        right.append(matched[kept])
    order = np.argsort(-np.concatenate(scores), kind="stable")
    every = np.concatenate([truth.class_ids[kind.counted(truth)] for truth in truths])
    objects = np.bincount(every, minlength=classes)
    return Matches(
        np.concatenate(scores)[order], np.concatenate(class_ids)[order], np.concatenate(right)[order], objects
    )


def _best_of_class(found: Detections, most: int) -> NDArray[np.bool_]:
    """Return, for each detection of an image, whether the COCO API counts it, (N,).

    For each class, the API counts only the `most` detections with the highest scores.
    """
    best = np.zeros(len(found.scores), dtype=np.bool_)
    for class_id in np.unique(found.class_ids):
        mine = np.flatnonzero(found.class_ids == class_id)
        best[mine[np.argsort(-found.scores[mine], kind="stable")[:most]]] = True
    return best


def ignored_shares(found: Detections, truth: Truth, kind: ObjectKind) -> NDArray[np.float64]:
    """Return, for each detection, the largest share of it, 0..1, that is inside one ignored region, (N,).

    A region is considered if it applies to the detection's class or to all classes.
    """
    regions = truth.ignored_class_ids
    if regions is None:
        regions = np.full(len(truth.ignored_xyxy), ANY_CLASS)
    inside = kind.shares_ignored(found, truth)  # (N, R)
    of_class = (regions[None] == ANY_CLASS) | (regions[None] == found.class_ids[:, None])
    return np.where(of_class, inside, 0).max(axis=1, initial=0)
