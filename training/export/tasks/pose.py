"""Pose: boxes with keypoints."""

from typing import Any

from numpy.typing import NDArray

from training.config import ModelConfig
from training.evaluate.detections import Detections
from training.evaluate.objects.keypoints import Keypoints
from training.export.contract.precision import Tolerance
from training.export.contract.tensors import Arrays, Output
from training.export.tasks.candidates import Pairs, value_difference
from training.export.tasks.objects import object_task
from training.export.tasks.task import Difference, ExportTask

KEYPOINTS = "keypoints"  # role and name
VISIBILITIES = "visibilities"  # of keypoints


def pose_task(config: ModelConfig) -> ExportTask:
    """Return the ExportTask of pose networks with the keypoints of `config`."""
    skeleton = config.skeleton
    assert skeleton is not None  # ModelConfig requires it of pose
    return object_task(
        Keypoints(skeleton.oks_sigmas),
        settings={"keypoints": list(skeleton.names), "skeleton": [list(edge) for edge in skeleton.edges]},
        rows=_rows,
        compare=_compare,
        further_limits=lambda tolerance: {VISIBILITIES: tolerance.scores},
        arrays=_arrays,
    )


def _rows(config: ModelConfig, count: int, tolerance: Tolerance) -> tuple[Output, ...]:
    sizes = (count, len(config.keypoints), 3)
    return (Output(KEYPOINTS, "f32", sizes, KEYPOINTS, tolerance.keypoints_px),)


def _compare(want: Arrays, got: Arrays, pairs: Pairs, tolerance: Tolerance) -> dict[str, Difference]:
    wanted, found = want[KEYPOINTS][0][pairs.want], got[KEYPOINTS][0][pairs.got]
    return {
        VISIBILITIES: value_difference(wanted[..., 2], found[..., 2]),
        KEYPOINTS: value_difference(wanted[..., :2], found[..., :2]),
    }


def _arrays(found: Detections, image_hw: tuple[int, int]) -> dict[str, NDArray[Any]]:
    assert found.keypoints is not None
    return {"det_keypoints": found.keypoints}
