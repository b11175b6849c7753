"""Select a task by its name."""

from training.config import TASKS, TaskName
from training.errors import ConfigError
from training.tasks.classify import CLASSIFY
from training.tasks.detect import DETECT
from training.tasks.obb import OBB
from training.tasks.pose import POSE
from training.tasks.segment import SEGMENT
from training.tasks.task import Task


def task_named(name: TaskName) -> Task:
    """Return the task of this name; raise ConfigError if there is no such task."""
    match name:
        case "detect":
            return DETECT
        case "classify":
            return CLASSIFY
        case "segment":
            return SEGMENT
        case "pose":
            return POSE
        case "obb":
            return OBB
        case _:
            raise ConfigError(f"no task {name!r}; there are: {', '.join(TASKS)}")
