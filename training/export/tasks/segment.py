"""Segmentation: boxes with masks, which the graph returns as prototypes and coefficients."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.config import MASK_STRIDE, ModelConfig
from training.data.images.letterbox import Letterbox
from training.evaluate.detections import Detections
from training.evaluate.objects.masks import MASKS, object_mask
from training.export.contract.precision import Tolerance
from training.export.contract.tensors import Arrays, Output
from training.export.tasks.candidates import Pairs, row_difference, value_difference
from training.export.tasks.objects import (
    BOXES,
    CLASS_IDS,
    CLASS_SCORES,
    CONF,
    IOU,
    MAX_DET,
    PROTOTYPES,
    SCORES,
    object_task,
)
from training.export.tasks.task import Difference
from training.models.heads.segment import PROTOTYPES as PROTOTYPE_COUNT
from training.ops.nms import class_aware_nms

COEFFICIENTS = "mask_coefficients"  # role and name
HALF_RELATIVE = 1e-3  # relative rounding error of float16


def _rows(config: ModelConfig, count: int, tolerance: Tolerance) -> tuple[Output, ...]:
    height, width = (side // MASK_STRIDE for side in config.input_hw)
    cells = (PROTOTYPE_COUNT, height, width)
    allowed = (tolerance.mask_parts, HALF_RELATIVE)
    return (
        Output(COEFFICIENTS, "f32", (count, PROTOTYPE_COUNT), COEFFICIENTS, *allowed),
        Output(PROTOTYPES, "f16", cells, PROTOTYPES, *allowed),
    )


def _compare(want: Arrays, got: Arrays, pairs: Pairs, tolerance: Tolerance) -> dict[str, Difference]:
    return {
        "masks": mask_difference(want, got, pairs),
        COEFFICIENTS: row_difference(want, got, pairs, COEFFICIENTS, HALF_RELATIVE),
        PROTOTYPES: value_difference(want[PROTOTYPES], got[PROTOTYPES], HALF_RELATIVE),
    }


def mask_difference(want: Arrays, got: Arrays, pairs: Pairs) -> Difference:
    """Return 1 - IoU of the two masks of each object that an answer would show, in the model input.

    Both masks are cut to the box in `want`, because differences of boxes are measured separately.
    """
    height, width = (MASK_STRIDE * side for side in want[PROTOTYPES].shape[-2:])
    whole = Letterbox.fit((height, width), (height, width))
    errors = []
    for index in _shown(want, pairs):
        rows = pairs.want[index], pairs.got[index]
        box = want[BOXES][0, rows[0]]
        one, other = (
            object_mask(
                outputs[COEFFICIENTS][0, row],
                outputs[PROTOTYPES][0].astype(np.float32),
                box.clip(0, (width, height, width, height)),
                whole,
                (height, width),
            ).bitmap
            for outputs, row in zip((want, got), rows, strict=True)
        )
        union = int((one | other).sum())
        errors.append(int((one ^ other).sum()) / union if union else 0.0)
    worst = max(errors, default=0.0)
    return Difference(worst, worst, len(errors))


def _shown(want: Arrays, pairs: Pairs) -> NDArray[np.intp]:
    """Return the indices of the pairs that an answer would show: pairs of likely objects that NMS keeps.

    An object is likely if its score is at least CONF, or at least half of the best score if that is lower.
    Masks of unlikely objects are noise, and any rounding changes a large part of such a mask.
    """
    if CLASS_SCORES in want:
        scores, class_ids = want[CLASS_SCORES][0].max(axis=-1), want[CLASS_SCORES][0].argmax(axis=-1)
    else:
        scores, class_ids = want[SCORES][0], want[CLASS_IDS][0]
    _, indices = np.unique(pairs.want, return_index=True)
    indices = indices[scores[pairs.want[indices]] >= min(CONF, scores.max(initial=0.0) / 2)]
    rows = pairs.want[indices]
    boxes, likely, classes = (torch.from_numpy(part[rows]) for part in (want[BOXES][0], scores, class_ids))
    return np.asarray(indices[class_aware_nms(boxes, likely, classes, IOU, MAX_DET).numpy()])


def _arrays(found: Detections, image_hw: tuple[int, int]) -> dict[str, NDArray[Any]]:
    assert found.masks is not None
    masks = np.zeros((len(found.masks), *image_hw), dtype=np.bool_)
    for row, mask in zip(masks, found.masks, strict=True):
        row[:] = mask.bitmap()
    return {"det_masks": np.packbits(masks, axis=-1)}


SEGMENT = object_task(
    MASKS,
    settings={"mask_stride": MASK_STRIDE, "prototypes": PROTOTYPE_COUNT},
    rows=_rows,
    compare=_compare,
    further_limits=lambda tolerance: {"masks": tolerance.masks},
    arrays=_arrays,
)
