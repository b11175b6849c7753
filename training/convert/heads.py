"""The heads of foreign networks: the task of each, and the names of its parts here."""

from collections.abc import Mapping
from typing import NamedTuple

from training.config import TaskName


class ForeignHead(NamedTuple):
    """What another project's head is here."""

    task: TaskName
    further: Mapping[str, str] = {}  # parts that detection lacks: from their names to ours in the network


HEADS: Mapping[str, ForeignHead] = {  # by class name
    "Detect": ForeignHead("detect"),
    "Segment": ForeignHead("segment", {"proto": "masks.prototypes", "cv4": "masks.coefficients.levels"}),
    "Pose": ForeignHead("pose", {"cv4": "keypoints.levels"}),
    "OBB": ForeignHead("obb", {"cv4": "angles.levels"}),
    "Classify": ForeignHead("classify"),
}
# Heads that cannot be converted, and are named in the error as what they are.
OTHER_HEADS = {
    *("WorldDetect", "YOLOEDetect", "YOLOESegment", "RTDETRDecoder", "v10Detect"),
    *("Segment26", "Pose26", "OBB26"),
}
