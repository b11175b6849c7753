"""The one place of the exports that chooses by a task's name."""

from training.config import ModelConfig
from training.errors import ConfigError
from training.export.tasks.classify import CLASSIFY
from training.export.tasks.detect import DETECT
from training.export.tasks.task import ExportTask


def export_task(config: ModelConfig) -> ExportTask:
    """Return the exporting half of a model's task. Raise ConfigError: it cannot be exported."""
    match config.task:
        case "detect":
            return DETECT
        case "classify":
            return CLASSIFY
        case _:
            raise ConfigError(f"a model of task {config.task} cannot be exported; detect and classify can")
