"""Choose the post-processing for a model's task."""

from typing import Any, assert_never

from service.artifact.manifest import Manifest
from service.tasks.classify import Classes, ClassifyTask, ClassPrediction
from service.tasks.detect import Detections, DetectTask, Prediction
from service.tasks.protocol import Task

Result = Detections | Classes
"""The predictions for one image, as arrays."""

AnyPrediction = Prediction | ClassPrediction
"""One prediction in an HTTP answer: a box or a class."""


def task_of(manifest: Manifest) -> Task[Any]:
    """Return the Task that interprets a model's outputs."""
    match manifest.task:
        case "detect":
            return DetectTask(manifest)
        case "classify":
            return ClassifyTask(manifest)
        case _:
            assert_never(manifest.task)
