"""Which task a model is exported for."""

from training.config import ModelConfig
from training.errors import ConfigError
from training.export.tasks.detect import Detect


def export_task(config: ModelConfig) -> Detect:
    """Return the exporting half of a model's task.

    Raises:
        ConfigError: nothing is known of how to export it.
    """
    match config.task:
        case "detect":
            return Detect()
        case _:
            raise ConfigError(f"a model of task {config.task} cannot be exported yet; detect can")
