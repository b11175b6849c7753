"""Oriented boxes: boxes before the rotation, and the angles of the rotation."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.config import ModelConfig
from training.evaluate.detections import Detections
from training.evaluate.objects.corners import CORNERS
from training.export.contract.precision import Tolerance
from training.export.contract.tensors import Arrays, Output
from training.export.tasks.candidates import Pairs
from training.export.tasks.objects import object_task
from training.export.tasks.task import Difference
from training.ops.rotated import oriented_boxes, unrotated

ANGLES = "angles"  # role and name


def _rows(config: ModelConfig, count: int, tolerance: Tolerance) -> tuple[Output, ...]:
    return (Output(ANGLES, "f32", (count,), ANGLES, tolerance.angles),)


def _compare(want: Arrays, got: Arrays, pairs: Pairs, tolerance: Tolerance) -> dict[str, Difference]:
    """Return the difference of the angles; adding π to an angle gives the same box."""
    apart = want[ANGLES][0][pairs.want].astype(np.float64) - got[ANGLES][0][pairs.got]
    worst = float(np.abs(apart - math.pi * np.round(apart / math.pi)).max(initial=0.0))
    return {ANGLES: Difference(worst, worst, len(apart))}


def _arrays(found: Detections, image_hw: tuple[int, int]) -> dict[str, NDArray[Any]]:
    """Return the boxes before rotation, not clipped, and their angles in 0..π."""
    assert found.corners is not None
    boxes = oriented_boxes(torch.from_numpy(found.corners.astype(np.float64)))
    return {
        "det_boxes_xyxy": unrotated(boxes).numpy().astype(np.float32),
        "det_angles": boxes[:, 4].numpy().astype(np.float32),
    }


OBB = object_task(CORNERS, rows=_rows, compare=_compare, arrays=_arrays)
