"""What parts two answers for one image, when the best candidates come in no fixed order."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.export.graph.precision import Tolerance

MIN_SCORE = 0.01  # candidates below this are noise whose order means nothing
UNMATCHED = float("inf")

Outputs = Mapping[str, NDArray[Any]]


def differences(want: Outputs, got: Outputs, tolerance: Tolerance) -> dict[str, float]:
    """Largest absolute differences: boxes_px, boxes_excess_px (beyond the relative allowance), scores, gates;
    and of how many boxes.

    Infinite where something has no partner, NaN where an output is no number.
    """
    if not all(np.isfinite(values).all() for values in got.values()):
        return dict.fromkeys(("boxes_px", "boxes_excess_px", "scores", "gates"), float("nan")) | {
            "compared_boxes": 0
        }
    gates = 0.0
    if "gates" in want:
        gates = max(
            _largest(want["gates"], got["gates"]), _largest(want["router_probs"], got["router_probs"])
        )
    if "class_scores" in want:
        scores = _largest(want["class_scores"], got["class_scores"])
        pairs = _likely_boxes(want, got)
    else:
        pairs, scores = _match_candidates(want, got, tolerance)
    boxes = np.abs(pairs[0] - pairs[1])
    excess = boxes - tolerance.boxes_relative * np.abs(pairs[0])
    return {
        "boxes_px": float(boxes.max(initial=0.0)),
        "boxes_excess_px": float(excess.max(initial=0.0)) if scores != UNMATCHED else UNMATCHED,
        "scores": scores,
        "gates": gates,
        "compared_boxes": boxes.size // 4,
    }


def max_or_nan(a: float, b: float) -> float:
    """The larger, or NaN if either is: Python's max would lose it."""
    return float(np.maximum(a, b))


def _likely_boxes(want: Outputs, got: Outputs) -> tuple[NDArray[Any], NDArray[Any]]:
    """Boxes of the anchors that hold something, or of all if none does: of the others nobody reads them."""
    likely = (want["class_scores"] >= MIN_SCORE).any(axis=-1)
    rows = likely if likely.any() else np.ones_like(likely)
    return want["boxes"][rows], got["boxes"][rows]


def _largest(want: NDArray[Any], got: NDArray[Any]) -> float:
    if want.shape != got.shape:
        return UNMATCHED
    return float(np.abs(want.astype(np.float64) - got).max(initial=0.0))


def _match_candidates(
    want: Outputs, got: Outputs, tolerance: Tolerance
) -> tuple[tuple[NDArray[Any], NDArray[Any]], float]:
    """Pair candidates by class, place and score: equal scores may come in another order."""
    wanted, found = ({name: out[name][0] for name in ("boxes", "scores", "class_ids")} for out in (want, got))
    worst, pairs = 0.0, []
    for mine, other in ((wanted, found), (found, wanted)):
        # One that is likely here must be there, even if there it falls a little below the threshold, unless
        # it is so near the last of a full list that rounding may have put another in its place.
        last = float(other["scores"].min(initial=1.0)) + tolerance.scores
        for index in np.flatnonzero((mine["scores"] >= MIN_SCORE) & (mine["scores"] > last)):
            same = np.flatnonzero(other["class_ids"] == mine["class_ids"][index])
            if not len(same):
                return (wanted["boxes"], wanted["boxes"]), UNMATCHED
            distance = np.abs(other["boxes"][same] - mine["boxes"][index]).max(axis=1)
            gap = np.abs(other["scores"][same] - mine["scores"][index])
            # Neighbouring anchors may see one object in one place with different scores: by place alone, an
            # anchor would be paired with its neighbour where rounding is coarse.
            nearest = same[np.maximum(distance / tolerance.boxes_px, gap / tolerance.scores).argmin()]
            worst = max(worst, float(abs(other["scores"][nearest] - mine["scores"][index])))
            pairs.append((mine["boxes"][index], other["boxes"][nearest]))
    if not pairs:
        return (wanted["boxes"][:0], wanted["boxes"][:0]), worst
    left, right = zip(*pairs, strict=True)
    return (np.stack(left), np.stack(right)), worst
