"""Confusion matrices: rows are the labelled classes, columns the predicted ones."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from training.data.evaluation import Truth
from training.evaluate.detections import Detections
from training.evaluate.matches import ignored_shares
from training.evaluate.objects.boxes import BOXES
from training.evaluate.objects.kind import ObjectKind

# C classes

BACKGROUND = "background"  # no object there (row), or none found (column)


def detection_confusion(
    truths: Sequence[Truth],
    detections: Sequence[Detections],
    classes: int,
    *,
    conf: float,
    iou: float,
    kind: ObjectKind = BOXES,
) -> NDArray[np.int64]:
    """Return the confusion matrix (C + 1, C + 1) of a detector; the last row and column are background.

    Each object is paired with at most one detection that overlaps it, whatever the detection's class. Pairs
    of equal class are made before pairs of different classes. In each of these two groups, pairs with
    a larger overlap are made first. An object without a detection counts in the last column. A
    detection without an object counts in the last row, unless it is inside an ignored region. Among keypoint
    labels, an object without a labelled keypoint does not count: it is paired after all other objects, and
    its pair is left out of the matrix.

    Args:
        conf: lowest score of a detection, inclusive.
        iou: the least overlap of a pair, inclusive.
        kind: the kind of objects whose overlap counts: boxes, masks, keypoints or corners.
    """
    matrix = np.zeros((classes + 1, classes + 1), dtype=np.int64)
    for truth, every in zip(truths, detections, strict=True):
        kept = every.scores >= np.float32(conf)
        found = every.where(kept)
        overlaps = kind.overlaps(found, truth).T
        same = truth.class_ids[:, None] == found.class_ids[None]
        rows, columns = np.nonzero(overlaps >= iou)
        labelled, paired = set(range(len(truth.class_ids))), np.zeros(len(found.scores), dtype=np.bool_)
        counts = kind.counted(truth)
        for at in np.lexsort((-overlaps[rows, columns], ~same[rows, columns], ~counts[rows])):
            row, column = int(rows[at]), columns[at]
            if row in labelled and not paired[column]:
                labelled.remove(row)
                paired[column] = True
                matrix[truth.class_ids[row], found.class_ids[column]] += counts[row]
        missed = [row for row in sorted(labelled) if counts[row]]
        np.add.at(matrix[:, classes], truth.class_ids[missed], 1)
        np.add.at(matrix[classes], found.class_ids[~paired & (ignored_shares(found, truth, kind) < iou)], 1)
    return matrix


def class_confusion(probabilities: NDArray[np.floating], class_ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the confusion matrix (C, C) of a classifier: rows are labels, columns the likeliest classes.

    Args:
        probabilities: (images, C).
        class_ids: (images,) labels.
    """
    classes = probabilities.shape[1]
    matrix = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(matrix, (class_ids, probabilities.argmax(axis=1)), 1)
    return matrix
