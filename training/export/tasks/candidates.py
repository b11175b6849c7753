"""Compare two answers of a detector for one image; their candidates may be in different orders."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.export.contract.precision import Tolerance
from training.export.contract.tensors import Arrays
from training.export.tasks.task import UNMATCHED, Difference, equal_order

# K pairs

MIN_SCORE = 0.01  # candidates below this are noise whose order means nothing


class Pairs(NamedTuple):
    """Pairs of rows of two answers that show the same candidate, and the difference of their scores."""

    want: NDArray[np.intp]  # (K,) a row can be in several pairs
    got: NDArray[np.intp]  # (K,)
    scores: Difference


def candidate_differences(
    want: Arrays, got: Arrays, pairs: Pairs, tolerance: Tolerance
) -> dict[str, Difference]:
    """Return the differences of boxes and scores, by role."""
    scores = "class_scores" if "class_scores" in want else "scores"
    boxes = row_difference(want, got, pairs, "boxes_xyxy", tolerance.boxes_relative)
    if pairs.scores.largest == UNMATCHED:
        boxes = boxes._replace(excess=UNMATCHED)
    return {"boxes_xyxy": boxes, scores: pairs.scores}


def row_difference(want: Arrays, got: Arrays, pairs: Pairs, role: str, relative: float = 0.0) -> Difference:
    """Return the difference of an output (1, N, …) over pairs of its rows; each row is a candidate."""
    return value_difference(want[role][0][pairs.want], got[role][0][pairs.got], relative)


def value_difference(want: NDArray[Any], got: NDArray[Any], relative: float = 0.0) -> Difference:
    """Return the difference of two arrays (K, …) of the same shape, compared element by element."""
    errors = np.abs(want.astype(np.float64) - got)
    excess = errors - relative * np.abs(want.astype(np.float64))
    return Difference(float(errors.max(initial=0.0)), float(excess.max(initial=0.0)), len(errors))


def pair_candidates(want: Arrays, got: Arrays, tolerance: Tolerance) -> Pairs:
    """Return which rows of two answers are compared with each other.

    If the graph returns every anchor, equal rows are compared. Anchors that score below MIN_SCORE are
    left out, unless every anchor scores below it.

    If the graph selects candidates, a candidate is compared with the nearest candidate of the same class.
    The distance is that of position, score and the graph's further outputs for a candidate. Rows cannot be
    compared directly, because candidates with equal scores can swap places.
    """
    if "class_scores" in want:
        likely = (want["class_scores"][0] >= MIN_SCORE).any(axis=-1)
        rows = np.flatnonzero(likely if likely.any() else np.ones_like(likely))
        return Pairs(rows, rows, equal_order(want["class_scores"], got["class_scores"]))
    wanted, found = ({role: values[0] for role, values in out.items()} for out in (want, got))
    worst, pairs = 0.0, []
    for forward, mine, other in ((True, wanted, found), (False, found, wanted)):
        # A likely candidate of one answer must be in the other, even if slightly below the threshold there.
        # Exempt are candidates near the end of a full list: rounding may have put others in their place.
        last = float(other["scores"].min(initial=1.0)) + tolerance.scores
        for index in np.flatnonzero((mine["scores"] >= MIN_SCORE) & (mine["scores"] > last)):
            same = np.flatnonzero(other["class_ids"] == mine["class_ids"][index])
            if not len(same):
                nothing = np.zeros(0, dtype=np.intp)
                return Pairs(nothing, nothing, Difference(UNMATCHED, UNMATCHED, 0))
            nearest = same[_distances(mine, index, other, same, tolerance).argmin()]
            worst = max(worst, float(abs(other["scores"][nearest] - mine["scores"][index])))
            pairs.append((index, nearest) if forward else (nearest, index))
    rows_want, rows_got = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
    return Pairs(rows_want, rows_got, Difference(worst, worst, len(pairs)))


def _distances(
    mine: Arrays, index: np.intp, other: Arrays, rows: NDArray[np.intp], tolerance: Tolerance
) -> NDArray[np.float64]:
    """Return the distance of a candidate from some rows of another answer, in multiples of the tolerance.

    Position alone is not enough. Neighbouring anchors may find an object in the same place, with different
    scores or keypoints. With coarse rounding, an anchor would then be paired with its neighbour.
    """
    allowed = {
        "boxes_xyxy": tolerance.boxes_px,
        "scores": tolerance.scores,
        "mask_coefficients": tolerance.mask_parts,
        "keypoints": tolerance.keypoints_px,
        "angles": tolerance.angles,
    }
    apart = []
    for role in allowed.keys() & mine.keys():
        gap = (other[role][rows] - mine[role][index]).reshape(len(rows), -1)
        gap = np.sin(gap) if role == "angles" else gap  # a box is the same at angle + π
        apart.append(np.abs(gap).max(axis=1) / allowed[role])
    return np.asarray(np.max(apart, axis=0))
