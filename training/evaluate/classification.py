"""Run a classifier over a data set: its accuracy and what its experts did."""

from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from training.data.evaluation import evaluation_batches
from training.data.sample import Dataset
from training.errors import DatasetError
from training.evaluate.accuracy import Accuracy, accuracy
from training.evaluate.evaluator import check_classes
from training.evaluate.expert_use import LayerUse, layer_use
from training.evaluate.routed import RoutedImages, RoutingCollector
from training.models.classifier import Classifier
from training.models.mixture.routing import RoutingControls
from training.progress import bar


class ClassEvaluation(NamedTuple):
    """The result over one data set."""

    accuracy: Accuracy
    experts: list[LayerUse]
    images: int
    routed: RoutedImages
    probabilities: NDArray[np.float32]  # (images, C), in the order of the data set

    @property
    def task(self) -> Literal["classify"]:
        """Return what was measured."""
        return "classify"


@torch.inference_mode()
def evaluate_classes(
    model: Classifier,
    dataset: Dataset,
    *,
    controls: RoutingControls | None = None,
    batch_size: int = 32,
) -> ClassEvaluation:
    """Evaluate in float32 on centre crops, experts grouped, on the device the model is on.

    Raises:
        DatasetError: its classes are not the model's, its images are not labelled as a whole, or one of them
            cannot be loaded.
    """
    check_classes(model.config.class_names, dataset.class_names)
    model.eval()
    parts, collector = [], RoutingCollector()
    with bar(len(dataset), "image", "evaluate") as progress:
        for batch in evaluation_batches(dataset, model.config.input_hw, batch_size, model.resize):
            predictions = model(batch.images.to(model.device), controls, dispatch="grouped")
            parts.append(model.probabilities(predictions).cpu().numpy())
            collector.add(batch.truths, predictions.routings)
            progress.update(len(batch.indices))
    routed = collector.routed()
    if routed.image_classes is None:
        raise DatasetError("the data set labels no image as a whole: give a folder of images for each class")
    uses = [layer_use(layer, gates, routed.probs[layer]) for layer, gates in routed.gates.items()]
    probabilities = np.concatenate(parts)
    found = accuracy(probabilities, routed.image_classes, model.config.class_names)
    return ClassEvaluation(found, uses, len(routed.truths), routed, probabilities)
