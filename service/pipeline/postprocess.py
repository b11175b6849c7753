"""Turn the outputs of a detector's graph into detections in pixels of the source image."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.pipeline.letterbox import Letterbox
from service.pipeline.nms import suppress
from service.pipeline.rotated import suppress_rotated
from service.types import Candidates


class Kept(NamedTuple):
    """The candidates of one image that are reported, highest score first."""

    rows: NDArray[np.int64]  # (N,) row numbers in the arrays of the candidates
    boxes_xyxy: NDArray[np.float32]  # (N, 4) source pixels


def select_candidates(
    boxes_xyxy: NDArray[np.float32], class_scores: NDArray[np.float32], limit: int
) -> tuple[Candidates, NDArray[np.int64]]:
    """Return the best (anchor, class) pairs of one image, best first, and the anchor of each pair, (N,).

    Pairs of equal score keep their order.

    Args:
        boxes_xyxy: (A, 4) boxes of all A anchors, in pixels of the model input.
        class_scores: (A, C) scores of all anchors and classes.
        limit: maximum number of pairs to return.
    """
    flat = class_scores.reshape(-1)
    if len(flat) > limit:  # keep all pairs that tie with the last score, to sort them stably
        worst = np.partition(flat, -limit)[-limit]
        pairs = np.flatnonzero(flat >= worst)
    else:
        pairs = np.arange(len(flat))
    pairs = pairs[np.argsort(-flat[pairs], kind="stable")][:limit]
    anchors, class_ids = np.divmod(pairs, class_scores.shape[1])
    return Candidates(boxes_xyxy[anchors], flat[pairs], class_ids.astype(np.int64)), anchors


def kept_in_source(
    candidates: Candidates,
    letterbox: Letterbox,
    source_hw: tuple[int, int],
    *,
    conf: float,
    iou: float,
    max_det: int,
    class_ids: Collection[int] | None = None,
    class_conf: Mapping[int, float] | None = None,
    agnostic: bool = False,
) -> Kept:
    """Return the candidates to report, with boxes in source pixels.

    The function first removes classes that are not in `class_ids`, and scores below `conf`. It suppresses
    overlapping boxes and keeps the best `max_det` boxes. Then it maps the boxes to the source image, and
    clips them to the image unless they are rotated.

    Args:
        candidates: N boxes in pixels of the model input.
        letterbox: position of the image in the model input.
        source_hw: height and width of the source image.
        conf: lowest score at which a box is kept.
        iou: IoU above which the box with the lower score is dropped.
        max_det: maximum number of detections to return.
        class_ids: ids of the classes to report; None for all. Boxes of all other classes are removed before
            suppression.
        class_conf: lowest scores of some classes, by class id; all other classes use `conf`.
        agnostic: whether a box is also dropped for its IoU with a higher-scored box of another class.
    """
    rows = np.arange(len(candidates.scores), dtype=np.int64)
    if class_ids is not None:
        rows = rows[np.isin(candidates.class_ids, np.array(sorted(class_ids), dtype=np.int64))]
    wanted = candidates.take(rows)
    lowest = np.full(len(rows), conf, dtype=np.float32)
    for class_id, value in (class_conf or {}).items():
        lowest[wanted.class_ids == class_id] = value
    if wanted.angles is not None:
        rows = rows[suppress_rotated(wanted, lowest, iou, max_det, agnostic=agnostic)]
        return Kept(rows, letterbox.to_source(candidates.boxes_xyxy[rows]))
    rows = rows[suppress(wanted, lowest, iou, max_det, agnostic=agnostic)]
    height, width = source_hw
    edges = np.array([width, height, width, height], dtype=np.float32)
    return Kept(rows, np.clip(letterbox.to_source(candidates.boxes_xyxy[rows]), 0, edges))
