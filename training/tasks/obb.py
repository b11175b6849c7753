"""The task of oriented detection, which is to find a rotated box and a class for each object."""

from collections.abc import Sequence

from training.config import LossConfig, TaskName
from training.data.loading.batch import Batch, OrientedBatch
from training.data.loading.collate import collate_corners
from training.data.sample import Sample
from training.data_config import Labels
from training.losses.oriented import oriented_loss
from training.losses.terms import LossTerms, Total
from training.models.detector import Predictions
from training.models.network import Network
from training.models.oriented_detector import OrientedDetector
from training.ops.rotated import oriented_boxes
from training.tasks.objects import ObjectTask, ignored_of


class _Oriented(ObjectTask):
    """The task of a detector of oriented boxes. task.Task documents attributes and methods."""

    name: TaskName = "obb"
    labels: Labels = "corners"
    best_by = "rotated mAP50-95"
    network = OrientedDetector
    upright = False

    def collate(self, samples: Sequence[Sample]) -> Batch:
        return collate_corners(samples)

    def loss(
        self, model: Network, predictions: Predictions, batch: Batch, config: LossConfig, total: Total
    ) -> LossTerms:
        """Return the weighted sum of ProbIoU, BCE and DFL over task-aligned anchors, and routing losses."""
        assert isinstance(model, OrientedDetector)
        assert isinstance(batch, OrientedBatch)
        truth = (oriented_boxes(batch.corners), batch.class_ids, batch.image_ids)
        return oriented_loss(model, predictions, truth, config, ignored_of(batch), total)


OBB = _Oriented()
