"""The heads of foreign networks: the task of each head, and what our networks call its parts."""

from collections.abc import Mapping
from typing import NamedTuple

from training.config import TaskName


class ForeignHead(NamedTuple):
    """The task of a foreign head, and what our networks call its parts."""

    task: TaskName
    further: Mapping[str, str] = {}  # our name of each part that detection lacks, by its foreign name


HEADS: Mapping[str, ForeignHead] = {  # by class name
    "Detect": ForeignHead("detect"),
    "Segment": ForeignHead("segment", {"proto": "masks.prototypes", "cv4": "masks.coefficients.levels"}),
    "Pose": ForeignHead("pose", {"cv4": "keypoints.levels"}),
    "OBB": ForeignHead("obb", {"cv4": "angles.levels"}),
    "Classify": ForeignHead("classify"),
}
# Heads that are known, but cannot be converted. The error names them.
OTHER_HEADS = {
    *("WorldDetect", "YOLOEDetect", "YOLOESegment", "RTDETRDecoder", "v10Detect"),
    *("Segment26", "Pose26", "OBB26"),
}
