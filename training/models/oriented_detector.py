"""The network for oriented boxes: a detector that also predicts the angle of each box."""

from torch import Tensor

from training.config import ModelConfig
from training.models.backbone import Maps
from training.models.detector import Detector, Predictions
from training.models.heads.obb import angle_branches, decode_angles, turn_boxes

# B batch · N anchors


class OrientedDetector(Detector):
    """A detector with an angle branch at each level.

    The distances to the sides of a box are along the axes of the rotated box.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.angles = angle_branches(self.neck.channels)

    def add_extras(self, predictions: Predictions, maps: Maps) -> Predictions:
        """Add the raw numbers from which the angles are decoded, (B, A, 1), to the predictions."""
        return predictions._replace(extras=self.angles(maps))

    def decode(self, predictions: Predictions, limit: int | None = None) -> tuple[Tensor, ...]:
        """Return boxes before rotation, class scores, and angles (B, N), all float32.

        Class scores are the same as for a detector. Boxes are (B, N, 4) xyxy in pixels of the model input.
        Angles are in -π/4..3π/4 radians, clockwise, around the box's centre.
        """
        rows = self.select(predictions, limit)
        assert rows.extras is not None
        boxes, scores = self.decode_rows(rows)
        angles = decode_angles(rows.extras)
        return turn_boxes(boxes, rows.points, angles), scores, angles
