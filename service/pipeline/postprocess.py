"""Raw outputs of a graph to detections in source pixels."""

from collections.abc import Collection

import numpy as np

from service.artifact.manifest import OutputSpec
from service.pipeline.letterbox import Letterbox
from service.pipeline.nms import suppress
from service.types import Candidates, Detections, RawOutputs


def select_candidates(outputs: RawOutputs, spec: OutputSpec) -> Candidates:
    """Return the N best (anchor, class) pairs of one image, best first.

    Args:
        outputs: of a batch of one. Either the graph has selected (boxes (1, N, 4), scores (1, N),
            class_ids (1, N)), or it gives every anchor (boxes (1, A, 4), class_scores (1, A, C)).
        spec: who selects, and N.
    """
    boxes = outputs["boxes"][0]
    if spec.selection == "graph":
        return Candidates(boxes, outputs["scores"][0], outputs["class_ids"][0].astype(np.int64))
    class_scores = outputs["class_scores"][0]  # (A, C)
    flat = class_scores.reshape(-1)
    if len(flat) > spec.candidates:  # everything at or above the N-th score, so that ties stay in order
        worst = np.partition(flat, -spec.candidates)[-spec.candidates]
        pairs = np.flatnonzero(flat >= worst)
    else:
        pairs = np.arange(len(flat))
    pairs = pairs[np.argsort(-flat[pairs], kind="stable")][: spec.candidates]
    anchors, class_ids = np.divmod(pairs, class_scores.shape[1])
    return Candidates(boxes[anchors], flat[pairs], class_ids.astype(np.int64))


def detections_in_source(
    candidates: Candidates,
    letterbox: Letterbox,
    source_hw: tuple[int, int],
    *,
    conf: float,
    iou: float,
    max_det: int,
    class_ids: Collection[int] | None = None,
) -> Detections:
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
    if class_ids is not None:
        wanted = np.isin(candidates.class_ids, np.array(sorted(class_ids), dtype=np.int64))
        candidates = Candidates(
            candidates.boxes_xyxy[wanted], candidates.scores[wanted], candidates.class_ids[wanted]
        )
    kept = suppress(candidates, conf, iou, max_det)
    boxes = letterbox.to_source(candidates.boxes_xyxy[kept])
    height, width = source_hw
    limits = np.array([width, height, width, height], dtype=np.float32)
    return Detections(np.clip(boxes, 0, limits), candidates.scores[kept], candidates.class_ids[kept])
