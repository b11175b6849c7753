"""Choose the post-processing for a model's task."""

from typing import Any, assert_never

from service.artifact.manifest import Manifest
from service.tasks.classify import Classes, ClassifyTask, ClassPrediction
from service.tasks.detect import Detections, DetectTask, Prediction
from service.tasks.protocol import Task

Result = Detections | Classes
"""What a task found in one image."""

AnyPrediction = Prediction | ClassPrediction
"""One of the predictions in which that is sent."""


def task_of(manifest: Manifest) -> Task[Any]:
    """Return the Task that interprets a model's outputs."""
    match manifest.task:
        case "detect":
            return DetectTask(manifest)
        case "classify":
            return ClassifyTask(manifest)
        case _:
            assert_never(manifest.task)
