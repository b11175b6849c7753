"""The task of detection, which is to find a box and a class for each object in an image."""

from collections.abc import Sequence

from training.config import LossConfig, TaskName
from training.data.loading.batch import Batch, BoxBatch
from training.data.loading.collate import collate_boxes
from training.data.sample import Sample
from training.data_config import Labels
from training.losses.detection import detection_loss
from training.losses.terms import LossTerms, Total
from training.models.detector import Detector, Predictions
from training.models.network import Network
from training.tasks.objects import ObjectTask, ignored_of, objects_of


class _Detect(ObjectTask):
    """The task of a detector. task.Task documents attributes and methods."""

    name: TaskName = "detect"
    labels: Labels = "boxes"
    best_by = "mAP50-95"
    network = Detector

    def collate(self, samples: Sequence[Sample]) -> Batch:
        return collate_boxes(samples)

    def loss(
        self, model: Network, predictions: Predictions, batch: Batch, config: LossConfig, total: Total
    ) -> LossTerms:
        """Return the weighted sum of CIoU, BCE and DFL over task-aligned anchors, and the routing losses."""
        assert isinstance(model, Detector)
        assert isinstance(batch, BoxBatch)
        truth = objects_of(batch)
        return detection_loss(model, predictions, truth, config, ignored_of(batch), total)


DETECT = _Detect()
