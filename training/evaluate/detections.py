"""Candidates of a network, and the detections of one image."""

from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, cat

from training.data.masks import RunLengths
from training.ops.nms import select_candidates

# B images · A anchors · N candidates or detections · C classes · K prototypes · P keypoints


@dataclass(frozen=True)
class DetectConfig:
    """Thresholds and limits of detection. The defaults are the usual ones for measuring mAP."""

    conf: float = 0.001  # lowest score of a detection that is kept
    iou: float = 0.7  # overlap above which NMS removes the lower-scored box
    max_det: int = 300  # detections of an image
    candidates: int = 1000  # (box, class) pairs of an image that NMS considers


class Candidates(NamedTuple):
    """The (anchor, class) pairs with the highest scores, of a batch of images or, without B, of one image."""

    boxes_xyxy: Tensor  # (B, N, 4) in pixels of the model input; of oriented boxes, before their rotation
    scores: Tensor  # (B, N) descending
    class_ids: Tensor  # (B, N) int64
    # (B, N, …) mask coefficients (…, K), keypoints (…, P, 3) or angles (…); None: only boxes are predicted
    extras: Tensor | None = None
    prototypes: Tensor | None = None  # (B, K, H / 4, W / 4), with mask coefficients

    @classmethod
    def select(cls, decoded: tuple[Tensor, ...], limit: int, prototypes: Tensor | None = None) -> Self:
        """Return the `limit` best pairs of each image.

        Args:
            decoded: what `Detector.decode` returns: boxes (B, A, 4), class scores (B, A, C), and extras
                (B, A, …) if the network has them.
        """
        boxes, class_scores, *more = decoded
        extras = more[0] if more else None
        rows = boxes if extras is None else cat([boxes, extras.reshape(*boxes.shape[:2], -1)], dim=-1)
        rows, scores, class_ids = select_candidates(rows, class_scores, limit)
        if extras is not None:
            extras = rows[..., 4:].reshape(*rows.shape[:2], *extras.shape[2:])
        return cls(rows[..., :4], scores, class_ids, extras, prototypes)

    def of_image(self, row: int) -> Self:
        """Return the candidates of one image of the batch."""
        extras = None if self.extras is None else self.extras[row]
        prototypes = None if self.prototypes is None else self.prototypes[row]
        return type(self)(self.boxes_xyxy[row], self.scores[row], self.class_ids[row], extras, prototypes)

    def likely(self, conf: float) -> Self:
        """Return the candidates of one image with scores of at least `conf`, in main memory."""
        return self.rows(self.scores >= conf)

    def rows(self, which: Tensor) -> Self:
        """Return selected candidates of one image, in main memory, with the image's prototypes.

        Args:
            which: the indices of the candidates, or a boolean mask over all candidates.
        """
        boxes, scores, class_ids = (part[which].cpu() for part in self[:3])
        extras = None if self.extras is None else self.extras[which].cpu()
        prototypes = None if self.prototypes is None else self.prototypes.cpu()
        return type(self)(boxes, scores, class_ids, extras, prototypes)


@dataclass(frozen=True)
class Detections:
    """The detections of one image, highest score first, in pixels of the source image."""

    boxes_xyxy: NDArray[np.float32]  # (N, 4) of oriented boxes, the extents
    scores: NDArray[np.float32]  # (N,)
    class_ids: NDArray[np.int64]  # (N,)
    masks: tuple[RunLengths, ...] | None = None  # N
    keypoints: NDArray[np.float32] | None = None  # (N, P, 3) x, y, and visibility 0..1
    corners: NDArray[np.float32] | None = None  # (N, 4, 2) of oriented boxes, in order

    def where(self, kept: NDArray[np.bool_]) -> Self:
        """Return the detections for which `kept` (N,) is true."""
        places = np.flatnonzero(kept)
        chosen: dict[str, Any] = {}
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, tuple):
                chosen[each.name] = tuple(value[place] for place in places)
            elif value is not None:
                chosen[each.name] = value[places]
        return replace(self, **chosen)
