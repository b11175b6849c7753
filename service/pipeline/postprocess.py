"""What a detector's graph answers to detections in source pixels."""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.pipeline.letterbox import Letterbox
from service.pipeline.nms import suppress
from service.types import Candidates


class Kept(NamedTuple):
    """What is left of the candidates of one image, highest score first."""

    rows: NDArray[np.int64]  # (N,) among the candidates: what else a graph says of them is found by it
    boxes_xyxy: NDArray[np.float32]  # (N, 4) source pixels


def select_candidates(
    boxes_xyxy: NDArray[np.float32], class_scores: NDArray[np.float32], limit: int
) -> Candidates:
    """Return the best (anchor, class) pairs of one image, best first; equal scores in the order of pairs.

    Args:
        boxes_xyxy: (A, 4) of every anchor, on the canvas.
        class_scores: (A, C) of every anchor and class.
        limit: most pairs to return.
    """
    flat = class_scores.reshape(-1)
    if len(flat) > limit:  # everything at or above the last score, so that ties stay in order
        worst = np.partition(flat, -limit)[-limit]
        pairs = np.flatnonzero(flat >= worst)
    else:
        pairs = np.arange(len(flat))
    pairs = pairs[np.argsort(-flat[pairs], kind="stable")][:limit]
    anchors, class_ids = np.divmod(pairs, class_scores.shape[1])
    return Candidates(boxes_xyxy[anchors], flat[pairs], class_ids.astype(np.int64))


def kept_in_source(
    candidates: Candidates,
    letterbox: Letterbox,
    source_hw: tuple[int, int],
    *,
    conf: float,
    iou: float,
    max_det: int,
    class_ids: Collection[int] | None = None,
) -> Kept:
    """Filter, suppress on the canvas, map to the source image and clip to it, in this order.

    Args:
        candidates: on the canvas.
        letterbox: where the image sits on the canvas.
        source_hw: size of the image.
        conf: lowest score that counts.
        iou: overlap above which the lower score of a class is dropped.
        max_det: most detections to return.
        class_ids: classes to report; None for all. Others are gone before they could suppress.
    """
    rows = np.arange(len(candidates.scores), dtype=np.int64)
    if class_ids is not None:
        rows = rows[np.isin(candidates.class_ids, np.array(sorted(class_ids), dtype=np.int64))]
    wanted = Candidates(candidates.boxes_xyxy[rows], candidates.scores[rows], candidates.class_ids[rows])
    rows = rows[suppress(wanted, conf, iou, max_det)]
    boxes = letterbox.to_source(candidates.boxes_xyxy[rows])
    height, width = source_hw
    limits = np.array([width, height, width, height], dtype=np.float32)
    return Kept(rows, np.clip(boxes, 0, limits))
