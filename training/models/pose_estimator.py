"""The pose network: a detector that also predicts the keypoints of each object."""

import torch
from torch import Tensor

from training.config import ModelConfig
from training.models.backbone import Maps
from training.models.detector import Detector, Predictions
from training.models.heads.pose import decode_keypoints, keypoint_branches

# B batch · N anchors · P keypoints


class PoseEstimator(Detector):
    """A detector with a keypoint branch at each level."""

    sigmas: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        assert config.skeleton is not None  # ModelConfig requires it of pose
        self.keypoints = keypoint_branches(len(config.keypoints), self.neck.channels)
        self.register_buffer("sigmas", torch.tensor(config.skeleton.oks_sigmas), persistent=False)  # (P,)

    def add_extras(self, predictions: Predictions, maps: Maps) -> Predictions:
        """Add raw keypoints (B, A, 3P) to the predictions."""
        return predictions._replace(extras=self.keypoints(maps))

    def decode(self, predictions: Predictions, limit: int | None = None) -> tuple[Tensor, ...]:
        """Return the boxes and class scores of a detector, and keypoints (B, N, P, 3) float32.

        The numbers of a keypoint are x and y in pixels of the model input, and the visibility, 0..1.
        """
        rows = self.select(predictions, limit)
        assert rows.extras is not None
        found = decode_keypoints(rows.extras, rows.points, rows.strides)
        return *self.decode_rows(rows), torch.cat([found[..., :2], found[..., 2:].sigmoid()], dim=-1)
