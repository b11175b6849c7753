"""Select the kind of objects that a network detects."""

from training.config import ModelConfig, TaskName
from training.evaluate.objects.boxes import BOXES
from training.evaluate.objects.corners import CORNERS
from training.evaluate.objects.keypoints import Keypoints
from training.evaluate.objects.kind import ObjectKind
from training.evaluate.objects.masks import MASKS
from training.skeleton import Skeleton


def kind_of(config: ModelConfig) -> ObjectKind:
    """Return the kind of objects that a network with this configuration detects."""
    return kind_for(config.task, config.skeleton)


def kind_for(task: TaskName, skeleton: Skeleton | None) -> ObjectKind:
    """Return the kind of objects that networks of a task detect.

    Args:
        skeleton: the description of the keypoints of each object; needed for `pose`.
    """
    match task:
        case "segment":
            return MASKS
        case "pose":
            assert skeleton is not None
            return Keypoints(skeleton.oks_sigmas)
        case "obb":
            return CORNERS
        case _:
            return BOXES
