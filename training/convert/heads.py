"""The heads of foreign networks: the task of each, our network for it, and the names of its parts here."""

from collections.abc import Mapping
from typing import NamedTuple

from training.config import TaskName
from training.models.classifier import Classifier
from training.models.detector import Detector
from training.models.network import Network
from training.models.oriented_detector import OrientedDetector
from training.models.pose_estimator import PoseEstimator
from training.models.segmenter import Segmenter


class ForeignHead(NamedTuple):
    """What another project's head is here."""

    task: TaskName
    network: type[Network]
    further: Mapping[str, str] = {}  # parts that detection lacks: from their names to ours in the network


HEADS: Mapping[str, ForeignHead] = {  # by class name
    "Detect": ForeignHead("detect", Detector),
    "Segment": ForeignHead(
        "segment", Segmenter, {"proto": "masks.prototypes", "cv4": "masks.coefficients.levels"}
    ),
    "Pose": ForeignHead("pose", PoseEstimator, {"cv4": "keypoints.levels"}),
    "OBB": ForeignHead("obb", OrientedDetector, {"cv4": "angles.levels"}),
    "Classify": ForeignHead("classify", Classifier),
}
# Heads that cannot be converted, and are named in the error as what they are.
OTHER_HEADS = {
    *("WorldDetect", "YOLOEDetect", "YOLOESegment", "RTDETRDecoder", "v10Detect"),
    *("Segment26", "Pose26", "OBB26"),
}
