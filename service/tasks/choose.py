"""Choose the post-processing for a model's task."""

from typing import Any, assert_never

from service.artifact.manifest import Manifest
from service.tasks.classify import Classes, ClassifyTask, ClassPrediction
from service.tasks.detect import Detections, DetectTask, Prediction
from service.tasks.obb import OrientedBoxes, OrientedPrediction, OrientedTask
from service.tasks.pose import PosePrediction, Poses, PoseTask
from service.tasks.protocol import Task
from service.tasks.segment import MaskPrediction, Segments, SegmentTask

Result = Detections | Classes | Segments | Poses | OrientedBoxes
"""The predictions for one image, as arrays."""

AnyPrediction = MaskPrediction | PosePrediction | OrientedPrediction | Prediction | ClassPrediction
"""One prediction in an HTTP answer: a box, perhaps with more about its object, or a class."""


def task_of(manifest: Manifest) -> Task[Any]:
    """Return the Task that interprets a model's outputs."""
    match manifest.task:
        case "detect":
            return DetectTask(manifest)
        case "classify":
            return ClassifyTask(manifest)
        case "segment":
            return SegmentTask(manifest)
        case "pose":
            return PoseTask(manifest)
        case "obb":
            return OrientedTask(manifest)
        case _:
            assert_never(manifest.task)
