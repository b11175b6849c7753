"""Look up the ExportTask of a model by the name of its task."""

from training.config import ModelConfig
from training.export.tasks.classify import CLASSIFY
from training.export.tasks.detect import DETECT
from training.export.tasks.obb import OBB
from training.export.tasks.pose import pose_task
from training.export.tasks.segment import SEGMENT
from training.export.tasks.task import ExportTask


def export_task(config: ModelConfig) -> ExportTask:
    """Return the ExportTask of a model's task."""
    match config.task:
        case "detect":
            return DETECT
        case "classify":
            return CLASSIFY
        case "segment":
            return SEGMENT
        case "pose":
            return pose_task(config)
        case "obb":
            return OBB
