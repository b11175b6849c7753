"""Precision, recall and F1 at every confidence, and the confidence at which F1 is best."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.evaluate.matches import Matches

# K classes that occur in the labels

CONFIDENCES = np.linspace(0, 1, 1001)
RECALLS = np.linspace(0, 1, 101)

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Curves:
    """Precision, recall and F1 at IoU 0.5 of each class that occurs in the labels, all from 0 to 1."""

    class_names: tuple[str, ...]  # (K,)
    objects: tuple[int, ...]  # (K,) labelled
    precision: Array  # (K, 1001) at CONFIDENCES; 0 where nothing is detected
    recall: Array  # (K, 1001)
    f1: Array  # (K, 1001)
    by_recall: Array  # (K, 101) highest precision at RECALLS or a higher recall, as the COCO API has it

    @property
    def best(self) -> int:
        """Return the index in CONFIDENCES of the confidence with the highest mean F1 over the classes."""
        return _middle_of_best(self.f1.mean(axis=0))

    @property
    def best_by_class(self) -> list[float]:
        """Return the confidence at which each class has its highest F1, (K,)."""
        return [float(CONFIDENCES[_middle_of_best(f1)]) for f1 in self.f1]

    def at_best(self) -> dict[str, object]:
        """Return precision, recall and F1 at the best confidence, of each class and averaged over classes."""
        three = {"precision": self.precision, "recall": self.recall, "f1": self.f1}
        by_class = {}
        for row, (name, own) in enumerate(zip(self.class_names, self.best_by_class, strict=True)):
            figures = {what: float(values[row, self.best]) for what, values in three.items()}
            by_class[name] = {**figures, "objects": self.objects[row], "own_best_confidence": own}
        means = {what: float(values[:, self.best].mean()) for what, values in three.items()}
        return {"confidence": float(CONFIDENCES[self.best]), **means, "by_class": by_class}


def curves_of(matches: Matches, class_names: Sequence[str]) -> Curves:
    """Return the curves of all classes that occur in the labels. At least one class must occur."""
    occurring = np.flatnonzero(matches.objects).tolist()
    precision, recall, by_recall = [], [], []
    for class_id in occurring:
        mine = matches.class_ids == class_id
        rising = matches.scores[mine][::-1].astype(np.float64)
        right = np.concatenate([[0], np.cumsum(matches.right[mine])])  # among the first 0, 1, … detections
        count = len(rising) - np.searchsorted(rising, CONFIDENCES)  # detections from each confidence on
        precision.append(right[count] / np.maximum(count, 1))
        recall.append(right[count] / matches.objects[class_id])
        by_recall.append(_by_recall(right[1:], int(matches.objects[class_id])))
    p, r = np.array(precision), np.array(recall)
    return Curves(
        class_names=tuple(class_names[class_id] for class_id in occurring),
        objects=tuple(matches.objects[occurring].tolist()),
        precision=p,
        recall=r,
        f1=2 * p * r / np.maximum(p + r, 1e-9),
        by_recall=np.array(by_recall),
    )


def _by_recall(right: NDArray[np.int64], objects: int) -> Array:
    precision = right / np.arange(1, len(right) + 1)
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    first = np.searchsorted(right / objects, RECALLS)  # detection that reaches each recall
    return np.where(first < len(right), np.append(highest, 0)[np.minimum(first, len(right))], 0.0)


def _middle_of_best(f1: Array) -> int:
    """Return the index of the confidence with the highest F1.

    Several neighbouring confidences often have the same highest F1. The middle one of them is returned,
    because a small change of the confidence changes F1 least there.
    """
    best = np.flatnonzero(f1 >= f1.max() - 1e-12)
    return int(best[len(best) // 2])
