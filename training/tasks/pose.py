"""The task of pose estimation, which is to find a box, a class and keypoints for each object."""

from collections.abc import Sequence
from dataclasses import replace

from training.config import LossConfig, TaskName
from training.data.loading.batch import Batch, PoseBatch
from training.data.loading.collate import collate_keypoints
from training.data.sample import Sample
from training.data_config import Labels
from training.losses.keypoints import pose_loss
from training.losses.terms import LossTerms, Total
from training.models.detector import Predictions
from training.models.network import Network
from training.models.pose_estimator import PoseEstimator
from training.tasks.objects import ObjectTask, ignored_of, objects_of


class _Pose(ObjectTask):
    """The task of a pose network. task.Task documents attributes and methods."""

    name: TaskName = "pose"
    labels: Labels = "keypoints"
    best_by = "OKS mAP50-95"
    network = PoseEstimator
    # Keypoints are learned later than boxes: on generated scenes, boxes had an mAP50 of 0.99 after 12 epochs,
    # and keypoints an OKS mAP50 of 0.00; after 50 epochs, 1.00 and 0.91. Smaller images keep a trial short.
    defaults = replace(ObjectTask.defaults, quick_hw=(128, 128), quick_epochs=30)

    def collate(self, samples: Sequence[Sample]) -> Batch:
        return collate_keypoints(samples)

    def loss(
        self, model: Network, predictions: Predictions, batch: Batch, config: LossConfig, total: Total
    ) -> LossTerms:
        """Return the loss of a detector, plus the losses of the positions and the visibility of keypoints."""
        assert isinstance(model, PoseEstimator)
        assert isinstance(batch, PoseBatch)
        truth = (*objects_of(batch), batch.keypoints)
        return pose_loss(model, predictions, truth, config, ignored_of(batch), total)


POSE = _Pose()
