"""Match detections to objects by the COCO API's rule, image by image.

The library that computes mAP does not expose its matches; the bootstrap needs them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from faster_coco_eval.core import mask
from numpy.typing import NDArray

from training.data.evaluation import Truth
from training.data.labels import ANY_CLASS
from training.evaluate.detections import Detections
from training.evaluate.mean_ap import COCO_MAX_DETECTIONS, coco_boxes

# D detections of a class in all images · N objects, R ignored regions of an image · T thresholds

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)


class ClassMatches(NamedTuple):
    """The matches of one class over all images.

    Detections are sorted by falling score; those with equal scores are in the order of the images.
    """

    images: NDArray[np.int64]  # (D,) the image of each detection
    right: NDArray[np.bool_]  # (T, D)
    wrong: NDArray[np.bool_]  # (T, D) neither right nor wrong: in an ignored region
    objects: NDArray[np.int64]  # (images,) number of objects in each


def match_class(truths: Sequence[Truth], detections: Sequence[Detections], class_id: int) -> ClassMatches:
    """Match the best hundred detections in each image, best first, to the objects that they overlap most."""
    scores, images, right, ignored = [], [], [], []
    objects = np.zeros(len(truths), dtype=np.int64)
    for image, (truth, found) in enumerate(zip(truths, detections, strict=True)):
        boxes = truth.boxes_xyxy[truth.class_ids == class_id]
        objects[image] = len(boxes)
        mine = np.flatnonzero(found.class_ids == class_id)
        mine = mine[np.argsort(-found.scores[mine], kind="stable")][:COCO_MAX_DETECTIONS]
        if not len(mine):
            continue
        detected = found.boxes_xyxy[mine]
        hits = _greedy(_overlaps(detected, boxes, crowd=False))
        in_region = _overlaps(detected, _regions(truth, class_id), crowd=True).max(axis=1, initial=0.0)
        scores.append(found.scores[mine])
        images.append(np.full(len(mine), image))
        right.append(hits)
        ignored.append(~hits & (in_region[None, :] >= IOU_THRESHOLDS[:, None]))
    if not scores:
        nothing = np.zeros((len(IOU_THRESHOLDS), 0), dtype=bool)
        return ClassMatches(np.zeros(0, dtype=np.int64), nothing, nothing, objects)
    order = np.argsort(-np.concatenate(scores), kind="stable")
    hits, in_regions = np.concatenate(right, axis=1)[:, order], np.concatenate(ignored, axis=1)[:, order]
    return ClassMatches(np.concatenate(images)[order], hits, ~hits & ~in_regions, objects)


def _overlaps(
    boxes_xyxy: NDArray[np.float32], others_xyxy: NDArray[np.float32], *, crowd: bool
) -> NDArray[np.float64]:
    """Return intersection over union, (N, M); if the others are crowds, over the first box's area.

    Boxes and function are those that mAP is computed with, so that both decide alike at a threshold.
    """
    if not len(others_xyxy):
        return np.zeros((len(boxes_xyxy), 0))
    of_crowds = [int(crowd)] * len(others_xyxy)
    return np.asarray(mask.iou(coco_boxes(boxes_xyxy), coco_boxes(others_xyxy), of_crowds))


def _greedy(iou: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return whether each detection finds an object that no earlier detection has found, (T, N)."""
    hits = np.zeros((len(IOU_THRESHOLDS), len(iou)), dtype=bool)
    for row, threshold in enumerate(IOU_THRESHOLDS):
        free = iou.copy()
        for detection in range(len(iou)):
            if not iou.shape[1]:
                break
            # Among equal overlaps, the last object counts.
            best = iou.shape[1] - 1 - int(np.argmax(free[detection, ::-1]))
            if free[detection, best] >= threshold:
                hits[row, detection] = True
                free[:, best] = -1.0
    return hits


def _regions(truth: Truth, class_id: int) -> NDArray[np.float32]:
    if truth.ignored_class_ids is None:
        return truth.ignored_xyxy
    return truth.ignored_xyxy[(truth.ignored_class_ids == class_id) | (truth.ignored_class_ids == ANY_CLASS)]
