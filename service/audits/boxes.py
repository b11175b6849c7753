"""Compare the boxes of two answers for one image, matched by class and IoU."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.audits.verdict import Difference
from service.tasks.detect import Detections

_SAME_OBJECT_IOU = 0.5  # lowest IoU that pairs two boxes
_CROWD_IOU = 0.3  # from this IoU with a paired box on, a box may be suppressed in only one answer


@dataclass(frozen=True)
class BoxRules:
    """By how much two correct answers may differ."""

    pixels: float  # of a box's edge, in pixels of the source image
    score: float
    conf: Callable[[int], float]  # by class: the lowest score of an answer
    max_det: int  # most boxes of an answer
    agnostic: bool  # whether boxes also suppress boxes of other classes
    names: Sequence[str]  # of the classes


@dataclass(frozen=True)
class BoxComparison:
    """The pairs of boxes (position in got, in want), and the differences; a box has at most one."""

    pairs: tuple[tuple[int, int], ...]
    differences: tuple[Difference, ...]


def compare_boxes(got: Detections, want: Detections, rules: BoxRules) -> BoxComparison:
    """Match the boxes of two answers, and return the pairs and the differences beyond the rules.

    A box may be in only one answer if its score is close to the lowest score that the other answer reports,
    or if non-maximum suppression may have decided otherwise.
    """
    ious = _ious(got.boxes_xyxy, want.boxes_xyxy)
    pairs = _pairs(got, want, ious)
    differences = [
        difference for pair in pairs if (difference := _compare_pair(got, want, pair, rules)) is not None
    ]
    in_got, in_want = {pair[0] for pair in pairs}, {pair[1] for pair in pairs}
    for i in range(len(want)):
        if i not in in_want and not _may_lack(want, i, got, in_got, ious[:, i], rules):
            differences.append(Difference("missing", _named(rules, want, i), _score(want, i)))
    for i in range(len(got)):
        if i not in in_got and not _may_lack(got, i, want, in_want, ious[i], rules):
            differences.append(Difference("extra", _named(rules, got, i), _score(got, i)))
    return BoxComparison(tuple(pairs), tuple(differences))


def _pairs(got: Detections, want: Detections, ious: NDArray[np.float64]) -> list[tuple[int, int]]:
    free = np.ones(len(got), dtype=bool)
    pairs = []
    for i in range(len(want)):
        usable = np.where(free & (got.class_ids == want.class_ids[i]), ious[:, i], -1.0)
        best = int(usable.argmax()) if len(usable) else -1
        if best >= 0 and usable[best] >= _SAME_OBJECT_IOU:
            free[best] = False
            pairs.append((best, i))
    return pairs


def _compare_pair(
    got: Detections, want: Detections, pair: tuple[int, int], rules: BoxRules
) -> Difference | None:
    row, i = pair
    edges = float(np.abs(got.boxes_xyxy[row].astype(np.float64) - want.boxes_xyxy[i]).max())
    if not edges <= rules.pixels:
        return Difference("box", _named(rules, want, i), _finite(edges), rules.pixels)
    score = abs(float(got.scores[row]) - float(want.scores[i]))
    if not score <= rules.score:
        return Difference("score", _named(rules, want, i), _finite(score), rules.score)
    return None


def _may_lack(
    has: Detections,
    i: int,
    other: Detections,
    paired: set[int],
    ious: NDArray[np.float64],
    rules: BoxRules,
) -> bool:
    """Return whether the other answer may lack box `i` of an answer.

    `ious` are those of box `i` with the boxes of the other answer, and `paired` are the other's paired boxes.
    """
    lowest = rules.conf(int(has.class_ids[i]))
    if len(other) >= rules.max_det:
        lowest = max(lowest, float(other.scores.min()))
    if float(has.scores[i]) <= lowest + rules.score:
        return True
    return any(
        ious[j] >= _CROWD_IOU and (rules.agnostic or other.class_ids[j] == has.class_ids[i]) for j in paired
    )


def _named(rules: BoxRules, boxes: Detections, i: int) -> str:
    return f"{rules.names[int(boxes.class_ids[i])]}, box {i}"


def _score(boxes: Detections, i: int) -> float | None:
    return _finite(float(boxes.scores[i]))


def _finite(value: float) -> float | None:
    return round(value, 6) if np.isfinite(value) else None


def _ious(got: NDArray[np.float32], want: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the IoU of each pair of boxes, (N, 4) and (M, 4), as (N, M); NaN counts as no overlap."""
    a, b = got.astype(np.float64)[:, None], want.astype(np.float64)[None]
    overlap = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0, None)
    inter = overlap.prod(axis=-1)
    areas = (a[..., 2:] - a[..., :2]).prod(axis=-1) + (b[..., 2:] - b[..., :2]).prod(axis=-1)
    ious: NDArray[np.float64] = np.nan_to_num(inter / np.maximum(areas - inter, np.finfo(np.float64).tiny))
    return ious
