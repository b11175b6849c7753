"""Select the ExportTask of a model by the name of its task."""

from training.config import ModelConfig
from training.errors import ConfigError
from training.export.tasks.classify import CLASSIFY
from training.export.tasks.detect import DETECT
from training.export.tasks.task import ExportTask


def export_task(config: ModelConfig) -> ExportTask:
    """Return what the exporter has to know about a model's task.

    Raises:
        ConfigError: models of this task cannot be exported.
    """
    match config.task:
        case "detect":
            return DETECT
        case "classify":
            return CLASSIFY
        case _:
            raise ConfigError(f"a model of task {config.task} cannot be exported; detect and classify can")
