"""Evaluate a classifier on a data set: its accuracy and the use of its experts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.config import TaskName
from training.data.sample import Dataset
from training.errors import DatasetError
from training.evaluate.accuracy import Accuracy, accuracy
from training.evaluate.evaluator import check_classes
from training.evaluate.routed import Result, route_images
from training.models.classifier import Classifier
from training.models.mixture.routing import RoutingControls


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassEvaluation(Result):
    """A classifier's accuracy, probabilities and routing on a data set."""

    task: TaskName = "classify"
    accuracy: Accuracy
    probabilities: NDArray[np.float32]  # (images, C), in the order of the data set


def evaluate_classes(
    model: Classifier, dataset: Dataset, *, controls: RoutingControls | None = None, batch_size: int = 32
) -> ClassEvaluation:
    """Evaluate a classifier on centre crops, in float32 on the model's device.

    Each expert runs only on the images for which it was chosen.

    Raises:
        DatasetError: the data set has other classes than the model, boxes as labels, or an image that cannot
            be loaded.
    """
    check_classes(model.config.class_names, dataset.class_names)
    parts: list[NDArray[np.float32]] = []
    routed = route_images(
        model,
        dataset,
        controls,
        batch_size=batch_size,
        what="evaluate",
        keep=lambda _, predictions: parts.append(model.probabilities(predictions).cpu().numpy()),
    )
    if routed.image_classes is None:
        raise DatasetError("the data set labels no image as a whole: give a folder of images for each class")
    probabilities = np.concatenate(parts)
    found = accuracy(probabilities, routed.image_classes, model.config.class_names)
    return ClassEvaluation(routed=routed, accuracy=found, probabilities=probabilities)
