"""Chooses the task of a model."""

from typing import Any, assert_never

from service.artifact.manifest import Manifest
from service.tasks.protocol import Task


def task_of(manifest: Manifest) -> Task[Any]:
    """Return what knows the meaning of a model's outputs."""
    match manifest.task:
        case "detect":
            from service.tasks.detect import DetectTask

            return DetectTask(manifest)
        case "classify":
            from service.tasks.classify import ClassifyTask

            return ClassifyTask(manifest)
        case _:
            assert_never(manifest.task)
