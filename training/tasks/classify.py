"""The task of classification, which is to find the class of a whole image."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from training.columns import in_columns
from training.config import LossConfig, ModelConfig, TaskName, TrainConfig
from training.data.augmentation.random_crop import augment_whole
from training.data.images.letterbox import scale_image
from training.data.loading.batch import Batch, ClassBatch
from training.data.sample import Dataset, Sample
from training.data_config import Labels
from training.errors import DatasetError
from training.evaluate.classification import ClassEvaluation, evaluate_classes
from training.evaluate.report import evaluation_json, expert_lines, or_dash
from training.evaluate.validation import routing_scores, routing_sentence
from training.losses.classification import classification_loss
from training.losses.terms import LossTerms, Total
from training.models.classifier import Classifier, ClassPredictions
from training.models.mixture.routing import RoutingControls
from training.models.network import Network
from training.tasks.task import Defaults

KEPT_OVER_INPUT = 1.5  # limit on image size ÷ input size: even crops of half the image keep all detail


class _Classify:
    """The task of a classifier. task.Task documents attributes and methods."""

    name: TaskName = "classify"
    labels: Labels = "class"
    best_by = "top1"
    without: tuple[str, ...] = ("dfl", "mosaic", "close_mosaic_epochs", "mixup", "copy_paste")
    defaults = Defaults(input_hw=(224, 224), quick_hw=(128, 128), epochs=60, quick_epochs=20, batch_size=16)

    def build(self, config: ModelConfig) -> Network:
        return Classifier(config)

    def losses(self, family: LossConfig) -> LossConfig:
        """Return the family's loss weights, with weight 1 for the label-smoothed cross entropy."""
        return replace(family, classes=1.0, label_smoothing=0.1)

    def check_labels(self, dataset: Dataset) -> None:
        if len(dataset) and dataset.load(0).image_class is None:
            raise DatasetError(
                "the data set has boxes, but a classifier learns one class for each image: give a folder "
                "with one folder of images per class, or use a variant for detection"
            )

    def scale(self, sample: Sample, input_hw: tuple[int, int]) -> Sample:
        """Return the sample, scaled down if its shorter side exceeds KEPT_OVER_INPUT times the input size."""
        shorter, most = min(sample.image.shape[:2]), round(KEPT_OVER_INPUT * max(input_hw))
        return replace(sample, image=scale_image(sample.image, min(1.0, most / shorter)))

    def augment(
        self, dataset: Dataset, index: int, rng: np.random.Generator, config: TrainConfig, epoch: int
    ) -> Sample:
        """Return a random crop with random flips and colour shifts; the epoch has no effect."""
        del epoch
        sample = dataset.load(index)
        image = augment_whole(sample.image, rng, config.augment, config.model.input_hw)
        return replace(sample, image=image)

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """Return a batch of images and their classes."""
        return ClassBatch(
            images=torch.from_numpy(np.stack([sample.image for sample in samples])),
            class_ids=torch.tensor([sample.image_class for sample in samples], dtype=torch.int64),
        )

    def loss(
        self, model: Network, predictions: ClassPredictions, batch: Batch, config: LossConfig, total: Total
    ) -> LossTerms:
        """Return the weighted sum of cross entropy and the routing losses."""
        del model
        assert isinstance(batch, ClassBatch)
        return classification_loss(predictions, batch.class_ids, config, total)

    def evaluate(
        self, model: Network, dataset: Dataset, *, controls: RoutingControls | None = None
    ) -> ClassEvaluation:
        assert isinstance(model, Classifier)
        return evaluate_classes(model, dataset, controls=controls)

    def scores(self, result: ClassEvaluation, dataset: Dataset) -> Mapping[str, float]:
        accuracy = result.accuracy
        scores = {"top1": accuracy.top1, "top5": accuracy.top5}
        scores |= {f"top1 {name}": share for name, share in accuracy.by_class.items() if share is not None}
        return scores | routing_scores(result, dataset)

    def figures(self, result: ClassEvaluation) -> Mapping[str, float]:
        return {"top1": result.accuracy.top1, "top5": result.accuracy.top5}

    def report(self, result: ClassEvaluation) -> str:
        top1, top5, by_class = result.accuracy
        lines = [f"{result.images} images   top-1 {top1:.4f}   top-5 {top5:.4f}"]
        classes = [(name, or_dash(share)) for name, share in by_class.items()]
        lines += in_columns([("class", "top-1"), *classes], "lr", indent=2)
        return "\n".join(lines + expert_lines(result.experts, result.paths))

    def report_json(self, result: ClassEvaluation) -> str:
        return evaluation_json(result.accuracy, result)

    def sentence(self, scores: Mapping[str, float]) -> str:
        return f"top-1 {scores['top1']:.3f}, top-5 {scores['top5']:.3f}{routing_sentence(scores)}"


CLASSIFY = _Classify()
