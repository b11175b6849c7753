"""The one place that chooses by a task's name."""

from training.config import TASKS, TaskName
from training.errors import ConfigError
from training.tasks.classify import CLASSIFY
from training.tasks.detect import DETECT
from training.tasks.task import Task


def task_named(name: TaskName) -> Task:
    """Return a task. Raises ConfigError: there is none of this name; names those there are."""
    match name:
        case "detect":
            return DETECT
        case "classify":
            return CLASSIFY
        case _:
            raise ConfigError(f"no task {name!r}; there are: {', '.join(TASKS)}")
