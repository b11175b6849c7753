"""The task of instance segmentation, which is to find a box, a class and a mask for each object."""

from collections.abc import Sequence

from training.config import LossConfig, TaskName
from training.data.loading.batch import Batch, SegmentBatch
from training.data.loading.collate import collate_masks
from training.data.sample import Sample
from training.data_config import Labels
from training.losses.masks import segmentation_loss
from training.losses.terms import LossTerms, Total
from training.models.detector import Predictions
from training.models.network import Network
from training.models.segmenter import Segmenter
from training.tasks.objects import ObjectTask, ignored_of, objects_of


class _Segment(ObjectTask):
    """The task of a segmentation network. task.Task documents attributes and methods."""

    name: TaskName = "segment"
    labels: Labels = "masks"
    best_by = "mask mAP50-95"
    network = Segmenter

    def collate(self, samples: Sequence[Sample]) -> Batch:
        return collate_masks(samples)

    def loss(
        self, model: Network, predictions: Predictions, batch: Batch, config: LossConfig, total: Total
    ) -> LossTerms:
        """Return the loss of a detector, plus the loss of the masks of matched anchors."""
        assert isinstance(model, Segmenter)
        assert isinstance(batch, SegmentBatch)
        truth = (*objects_of(batch), batch.masks)
        return segmentation_loss(model, predictions, truth, config, ignored_of(batch), total)


SEGMENT = _Segment()
