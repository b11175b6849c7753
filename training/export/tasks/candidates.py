"""Compare two answers of a detector for one image, whose candidates come in no fixed order."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.export.contract.precision import Tolerance
from training.export.contract.tensors import Arrays
from training.export.tasks.task import UNMATCHED, Difference, equal_order

MIN_SCORE = 0.01  # candidates below this are noise whose order means nothing

Pairs = tuple[NDArray[Any], NDArray[Any]]


def candidate_differences(want: Arrays, got: Arrays, tolerance: Tolerance) -> dict[str, Difference]:
    """Return the differences of boxes and scores, by role.

    If the graph selects candidates, only candidates of the same class are compared with each other.
    """
    if "class_scores" in want:
        scores = equal_order(want["class_scores"], got["class_scores"])
        pairs, found = _likely_boxes(want, got), {"class_scores": scores}
    else:
        pairs, worst = _match_candidates(want, got, tolerance)
        scores = Difference(worst, worst, len(pairs[0]))
        found = {"scores": scores}
    boxes = np.abs(pairs[0] - pairs[1])
    excess = boxes - tolerance.boxes_relative * np.abs(pairs[0])
    beyond = float(excess.max(initial=0.0)) if scores.largest != UNMATCHED else UNMATCHED
    return {"boxes_xyxy": Difference(float(boxes.max(initial=0.0)), beyond, len(boxes)), **found}


def _likely_boxes(want: Arrays, got: Arrays) -> Pairs:
    """Return the boxes of the anchors that score at least MIN_SCORE; if no anchor does, of all anchors."""
    likely = (want["class_scores"] >= MIN_SCORE).any(axis=-1)
    rows = likely if likely.any() else np.ones_like(likely)
    return want["boxes_xyxy"][rows], got["boxes_xyxy"][rows]


def _match_candidates(want: Arrays, got: Arrays, tolerance: Tolerance) -> tuple[Pairs, float]:
    """Pair the candidates of two answers by class, position and score.

    They cannot be paired by row, since candidates with equal scores can swap places.

    Returns:
        The pairs of boxes, and the largest difference of scores.
    """
    roles = ("boxes_xyxy", "scores", "class_ids")
    wanted, found = ({role: out[role][0] for role in roles} for out in (want, got))
    worst, pairs = 0.0, []
    for mine, other in ((wanted, found), (found, wanted)):
        # A likely candidate of one answer must be in the other, even if slightly below the threshold there.
        # Exempt are candidates near the end of a full list: rounding may have put others in their place.
        last = float(other["scores"].min(initial=1.0)) + tolerance.scores
        for index in np.flatnonzero((mine["scores"] >= MIN_SCORE) & (mine["scores"] > last)):
            same = np.flatnonzero(other["class_ids"] == mine["class_ids"][index])
            if not len(same):
                return (wanted["boxes_xyxy"], wanted["boxes_xyxy"]), UNMATCHED
            distance = np.abs(other["boxes_xyxy"][same] - mine["boxes_xyxy"][index]).max(axis=1)
            gap = np.abs(other["scores"][same] - mine["scores"][index])
            # Neighbouring anchors may see one object in one place with different scores: by place alone, an
            # anchor would be paired with its neighbour where rounding is coarse.
            nearest = same[np.maximum(distance / tolerance.boxes_px, gap / tolerance.scores).argmin()]
            worst = max(worst, float(abs(other["scores"][nearest] - mine["scores"][index])))
            pairs.append((mine["boxes_xyxy"][index], other["boxes_xyxy"][nearest]))
    if not pairs:
        return (wanted["boxes_xyxy"][:0], wanted["boxes_xyxy"][:0]), worst
    left, right = zip(*pairs, strict=True)
    return (np.stack(left), np.stack(right)), worst
