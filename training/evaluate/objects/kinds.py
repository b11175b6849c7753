"""Select the kind of objects that a network detects."""

from training.config import ModelConfig
from training.evaluate.objects.boxes import BOXES
from training.evaluate.objects.corners import CORNERS
from training.evaluate.objects.keypoints import Keypoints
from training.evaluate.objects.kind import ObjectKind
from training.evaluate.objects.masks import MASKS


def kind_of(config: ModelConfig) -> ObjectKind:
    """Return the kind of objects that a network with this configuration detects."""
    match config.task:
        case "segment":
            return MASKS
        case "pose":
            assert config.skeleton is not None  # ModelConfig requires it of pose
            return Keypoints(config.skeleton.oks_sigmas)
        case "obb":
            return CORNERS
        case _:
            return BOXES
