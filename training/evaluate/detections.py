"""What a detector says of one image, in that image's own pixels."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.letterbox import Letterbox
from training.ops.nms import class_aware_nms


@dataclass(frozen=True)
class DetectConfig:
    """When a candidate counts. The defaults are the usual ones for measuring mAP."""

    conf: float = 0.001
    iou: float = 0.7
    max_det: int = 300
    candidates: int = 1000


@dataclass(frozen=True)
class Detections:
    """Highest score first, in source pixels."""

    boxes_xyxy: NDArray[np.float32]  # (N, 4)
    scores: NDArray[np.float32]  # (N,)
    class_ids: NDArray[np.int64]  # (N,)


def keep_detections(
    candidates: tuple[Tensor, Tensor, Tensor],
    placed: Letterbox,
    image_hw: tuple[int, int],
    config: DetectConfig,
) -> Detections:
    """Threshold, suppress, map back to the source image and clip to it.

    Args:
        candidates: boxes (N, 4) canvas pixels, scores (N,), class ids (N,) of one image.
    """
    boxes, scores, class_ids = (part.cpu() for part in candidates)
    likely = scores >= config.conf
    boxes, scores, class_ids = boxes[likely], scores[likely], class_ids[likely]
    kept = class_aware_nms(boxes, scores, class_ids, config.iou, config.max_det)
    source = placed.to_source(boxes[kept].numpy())
    height, width = image_hw
    source[:, 0::2] = source[:, 0::2].clip(0, width)
    source[:, 1::2] = source[:, 1::2].clip(0, height)
    return Detections(
        source.astype(np.float32), scores[kept].numpy(), class_ids[kept].to(torch.int64).numpy()
    )
