"""Detection: boxes and classes of the objects in an image."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from training.config import AugmentConfig, LossConfig, ModelConfig, TaskName, TrainConfig
from training.data.augmentation.augment import augment
from training.data.images.letterbox import scale_sample
from training.data.loading.batch import Batch, BoxBatch
from training.data.loading.collate import collate_boxes
from training.data.sample import Dataset, Sample
from training.errors import DatasetError
from training.evaluate.evaluator import Evaluation, evaluate
from training.evaluate.report import evaluation_json, evaluation_report
from training.evaluate.validation import routing_scores, routing_sentence
from training.losses.detection import detection_loss
from training.losses.terms import LossTerms, Total
from training.models.detector import Detector, Predictions
from training.models.mixture.routing import RoutingControls
from training.models.network import Network
from training.tasks.task import Defaults


class _Detect:
    """The task of a detector. task.Task documents attributes and methods."""

    name: TaskName = "detect"
    scene_labels: Literal["boxes", "class"] = "boxes"
    best_by = "mAP50-95"
    without: tuple[str, ...] = ()
    defaults = Defaults(
        input_hw=(640, 640),
        quick_hw=(256, 256),
        epochs=100,
        quick_epochs=8,
        batch_size=8,
        augment=AugmentConfig(close_mosaic_epochs=15),
        quick_augment=AugmentConfig(close_mosaic_epochs=3, mosaic=0.5),
    )

    def build(self, config: ModelConfig) -> Network:
        return Detector(config)

    def losses(self, family: LossConfig) -> LossConfig:
        """Return the family's loss weights unchanged."""
        return family

    def check_labels(self, dataset: Dataset) -> None:
        if len(dataset) and dataset.load(0).image_class is not None:
            raise DatasetError(
                "the data set has a class for each image, but a detector learns boxes: use a variant for "
                "classification, such as sparsight-n-cls"
            )

    def scale(self, sample: Sample, input_hw: tuple[int, int]) -> Sample:
        """Return a sample resized to fit into the model input; keep its aspect ratio, and add no padding."""
        return scale_sample(sample, input_hw)

    def augment(
        self, dataset: Dataset, index: int, rng: np.random.Generator, config: TrainConfig, epoch: int
    ) -> Sample:
        """Return an augmented sample; in the last epochs, mosaic, mixup and copy-paste are switched off."""
        mosaic = epoch < config.epochs - config.augment.close_mosaic_epochs
        return augment(dataset, index, rng, config.augment, config.model.input_hw, mosaic)

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """Return a batch of images with all their objects and ignored regions."""
        return collate_boxes(samples)

    def loss(
        self, model: Network, predictions: Predictions, batch: Batch, config: LossConfig, total: Total
    ) -> LossTerms:
        """Return the weighted sum of CIoU, BCE and DFL over task-aligned anchors, and the routing losses."""
        assert isinstance(model, Detector)
        assert isinstance(batch, BoxBatch)
        truth = (batch.boxes_xyxy, batch.class_ids, batch.image_ids)
        ignored = (batch.ignored_xyxy, batch.ignored_image_ids)
        return detection_loss(model, predictions, truth, config, ignored, total)

    def evaluate(
        self, model: Network, dataset: Dataset, *, controls: RoutingControls | None = None
    ) -> Evaluation:
        assert isinstance(model, Detector)
        return evaluate(model, dataset, controls=controls)

    def scores(self, result: Evaluation, dataset: Dataset) -> Mapping[str, float]:
        quality = {"mAP50": result.mean_ap.map50, "mAP50-95": result.mean_ap.map50_95}
        return quality | routing_scores(result, dataset)

    def figures(self, result: Evaluation) -> Mapping[str, float]:
        return {"map50": result.mean_ap.map50, "map50_95": result.mean_ap.map50_95}

    def report(self, result: Evaluation) -> str:
        return evaluation_report(result.mean_ap, result.curves, result.images, result.experts)

    def report_json(self, result: Evaluation) -> str:
        best_f1 = {"best_f1": result.curves.at_best()}
        return evaluation_json(result.mean_ap, result.images, result.experts, **best_f1)

    def sentence(self, scores: Mapping[str, float]) -> str:
        return f"mAP50 {scores['mAP50']:.3f}, mAP50-95 {scores['mAP50-95']:.3f}{routing_sentence(scores)}"


DETECT = _Detect()
