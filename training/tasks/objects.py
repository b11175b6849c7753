"""The base class of all tasks whose networks detect objects."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from torch import Tensor

from training.config import AugmentConfig, LossConfig, ModelConfig, TaskName, TrainConfig
from training.data.augmentation.augment import augment
from training.data.images.letterbox import scale_sample
from training.data.loading.batch import Batch, BoxBatch
from training.data.sample import Dataset, Sample
from training.data_config import Labels
from training.errors import DatasetError
from training.evaluate.evaluator import Evaluation, evaluate
from training.evaluate.report import detection_json, evaluation_report
from training.evaluate.validation import routing_scores, routing_sentence
from training.losses.distillation import detector_distillation
from training.losses.terms import LossTerms, Total
from training.models.detector import Detector, Predictions
from training.models.mixture.routing import RoutingControls
from training.models.network import Network
from training.tasks.task import Defaults


class ObjectTask:
    """The base of the tasks that detect objects. task.Task documents attributes and methods."""

    name: TaskName
    labels: Labels
    best_by: str
    network: ClassVar[type[Detector]]
    without: tuple[str, ...] = ()
    upright: ClassVar[bool] = True  # whether the sides of boxes are measured along the axes of the image
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
        """Return a network with fresh weights."""
        return self.network(config)

    def losses(self, family: LossConfig) -> LossConfig:
        """Return the family's loss weights unchanged."""
        return family

    def check_labels(self, dataset: Dataset) -> None:
        """Check the first image's labels; raise DatasetError if this task cannot learn from them."""
        if not len(dataset):
            return
        first = dataset.load(0)
        if first.image_class is not None:
            raise DatasetError(
                "the data set has a class for each image, but a detector learns boxes: use a variant for "
                "classification, such as sparsight-n-cls"
            )
        if self.labels != "boxes" and getattr(first, self.labels) is None:
            raise DatasetError(
                f"the data set has no {self.labels}, which a network for the task {self.name} learns: give "
                "data with them, or use a variant for detection"
            )

    def scale(self, sample: Sample, input_hw: tuple[int, int]) -> Sample:
        """Return a sample resized to fit into the model input, with its aspect ratio and without padding."""
        return scale_sample(sample, input_hw)

    def augment(
        self, dataset: Dataset, index: int, rng: np.random.Generator, config: TrainConfig, epoch: int
    ) -> Sample:
        """Return an augmented sample; in the last epochs, mosaic, mixup and copy-paste are switched off."""
        mosaic = epoch < config.epochs - config.augment.close_mosaic_epochs
        return augment(dataset, index, rng, config.augment, config.model.input_hw, mosaic)

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """Return a batch of images with all their objects and ignored regions."""
        raise NotImplementedError

    def loss(
        self, model: Network, predictions: Predictions, batch: Batch, config: LossConfig, total: Total
    ) -> LossTerms:
        """Return the weighted sum of the terms of the task, and the routing losses."""
        raise NotImplementedError

    def distillation(
        self, predictions: Predictions, teacher: Predictions, taught: Tensor, config: LossConfig
    ) -> Tensor:
        """Return the differences of class scores and box sides, weighted by the teacher's scores."""
        return detector_distillation(_taught(predictions, taught), teacher, config, sides=self.upright)

    def evaluate(
        self, model: Network, dataset: Dataset, *, controls: RoutingControls | None = None
    ) -> Evaluation:
        """Return a network's results on a data set, in float32, on the network's device."""
        assert isinstance(model, Detector)
        return evaluate(model, dataset, controls=controls)

    def scores(self, result: Evaluation, dataset: Dataset) -> Mapping[str, float]:
        """Return the mAP of the task and routing figures; add the mAP of boxes if the task's mAP differs."""
        name = result.kind.score
        quality = {f"{name}50": result.mean_ap.map50, f"{name}50-95": result.mean_ap.map50_95}
        if result.box_ap is not None:
            quality |= {"mAP50": result.box_ap.map50, "mAP50-95": result.box_ap.map50_95}
        return quality | routing_scores(result, dataset)

    def figures(self, result: Evaluation) -> Mapping[str, float]:
        """Return the mAP of the task."""
        return {"map50": result.mean_ap.map50, "map50_95": result.mean_ap.map50_95}

    def report(self, result: Evaluation) -> str:
        """Return an evaluation as text of several lines."""
        return evaluation_report(result)

    def report_json(self, result: Evaluation) -> str:
        """Return an evaluation as JSON."""
        return detection_json(result)

    def sentence(self, scores: Mapping[str, float]) -> str:
        """Return the figures of `scores` as one line for people."""
        quality = (f"{name} {value:.3f}" for name, value in scores.items() if "mAP" in name)
        return f"{', '.join(quality)}{routing_sentence(scores)}"


def _taught(predictions: Predictions, taught: Tensor) -> Predictions:
    """Return the box and class logits of some images of a batch."""
    return predictions._replace(
        box_logits=predictions.box_logits[taught], class_logits=predictions.class_logits[taught]
    )


def objects_of(batch: BoxBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Return the boxes, class ids and image ids of a batch, in the order in which the losses take them."""
    return batch.boxes_xyxy, batch.class_ids, batch.image_ids


def ignored_of(batch: BoxBatch) -> tuple[Tensor, Tensor]:
    """Return the ignored regions of a batch and their image ids, in the order that the losses take."""
    return batch.ignored_xyxy, batch.ignored_image_ids
