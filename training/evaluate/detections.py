"""Detections of one image, in pixels of the source image."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from training.data.images.letterbox import Letterbox
from training.ops.nms import class_aware_nms


@dataclass(frozen=True)
class DetectConfig:
    """Thresholds and limits of detection. The defaults are the usual ones for measuring mAP."""

    conf: float = 0.001  # lowest score of a detection that is kept
    iou: float = 0.7  # overlap above which NMS removes the lower-scored box
    max_det: int = 300  # detections of an image
    candidates: int = 1000  # (box, class) pairs of an image that NMS considers


@dataclass(frozen=True)
class Detections:
    """The detections of one image, highest score first, in pixels of the source image."""

    boxes_xyxy: NDArray[np.float32]  # (N, 4)
    scores: NDArray[np.float32]  # (N,)
    class_ids: NDArray[np.int64]  # (N,)


def keep_detections(
    candidates: tuple[Tensor, Tensor, Tensor],
    placed: Letterbox,
    image_hw: tuple[int, int],
    config: DetectConfig,
) -> Detections:
    """Return the candidates of one image that NMS and `config` keep, clipped to the source image.

    Args:
        candidates: boxes (N, 4) in pixels of the model input, scores (N,), class ids (N,).
        placed: where the image is in the model input.
    """
    boxes, scores, class_ids = (part.cpu() for part in candidates)
    likely = scores >= config.conf
    boxes, scores, class_ids = boxes[likely], scores[likely], class_ids[likely]
    kept = class_aware_nms(boxes, scores, class_ids, config.iou, config.max_det)
    height, width = image_hw
    source = placed.to_source(boxes[kept].numpy()).clip(0, (width, height, width, height))
    return Detections(source.astype(np.float32), scores[kept].numpy(), class_ids[kept].long().numpy())
