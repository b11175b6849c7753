"""Choose the post-processing for a model's task."""

from typing import Any, assert_never

from service.artifact.manifest import Manifest
from service.tasks.protocol import Task


def task_of(manifest: Manifest) -> Task[Any]:
    """Return the Task that interprets a model's outputs."""
    match manifest.task:
        case "detect":
            from service.tasks.detect import DetectTask

            return DetectTask(manifest)
        case "classify":
            from service.tasks.classify import ClassifyTask

            return ClassifyTask(manifest)
        case _:
            assert_never(manifest.task)
