"""Evaluate a detector on a data set: its mAP and the use of its experts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from training.data.evaluation import EvaluationBatch, Truth
from training.data.images.letterbox import Letterbox
from training.data.sample import Dataset
from training.errors import DatasetError
from training.evaluate.curves import Curves, curves_of
from training.evaluate.detections import DetectConfig, Detections, keep_detections
from training.evaluate.matches import match_by_class
from training.evaluate.mean_ap import MeanAp, mean_average_precision
from training.evaluate.routed import Result, RoutedImages, route_images
from training.models.detector import Detector, Predictions
from training.models.mixture.routing import RoutingControls
from training.ops.nms import select_candidates
from training.progress import bar


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation(Result):
    """A detector's mAP, detections and routing on a data set."""

    task = "detect"
    mean_ap: MeanAp
    detections: Sequence[Detections] = ()  # of each image, in the order of the data set
    class_names: tuple[str, ...] = ()

    @cached_property
    def curves(self) -> Curves:
        """Return the detector's precision, recall and F1 at every confidence."""
        matches = match_by_class(self.routed.truths, self.detections, len(self.class_names))
        return curves_of(matches, self.class_names)


def check_classes(model_names: tuple[str, ...], data_names: tuple[str, ...]) -> None:
    """Check that the data set has the model's classes in the same order; raise DatasetError otherwise."""
    if model_names != data_names:
        raise DatasetError(
            f"the data set labels {list(data_names)} but the model has {list(model_names)}; "
            "evaluate it on data with the same classes in the same order"
        )


def evaluate(
    model: Detector, dataset: Dataset, *, controls: RoutingControls | None = None, batch_size: int = 8
) -> Evaluation:
    """Evaluate a detector in float32 on the model's device.

    Each expert runs only on the images for which the router chose it.

    Raises:
        DatasetError: the data set has other classes than the model, no labelled object, or an image that
            cannot be loaded.
    """
    check_classes(model.config.class_names, dataset.class_names)
    found: list[Detections] = []

    def keep(batch: EvaluationBatch, predictions: Predictions) -> None:
        all_boxes, all_scores, *_ = model.decode(predictions)
        candidates = select_candidates(all_boxes, all_scores, DetectConfig.candidates)
        for row, truth in enumerate(batch.truths):
            boxes, scores, class_ids = (part[row] for part in candidates)
            placed = Letterbox.fit(truth.image_hw, model.config.input_hw)
            found.append(keep_detections((boxes, scores, class_ids), placed, truth.image_hw, DetectConfig()))

    routed = route_images(model, dataset, controls, batch_size=batch_size, what="evaluate", keep=keep)
    mean_ap = mean_average_precision(routed.truths, found, model.config.class_names)
    names = model.config.class_names
    return Evaluation(routed=routed, mean_ap=mean_ap, detections=found, class_names=names)


def evaluate_with(detect: Callable[[bytes], Detections], dataset: Dataset) -> Evaluation:
    """Evaluate a function that returns the detections of an encoded image, without measuring routing."""
    truths, found = [], []
    with bar(len(dataset), "image", "evaluate") as progress:
        for index in range(len(dataset)):
            truths.append(Truth.of(dataset.load(index)))
            found.append(detect(dataset.encoded(index)))
            progress.update()
    mean_ap = mean_average_precision(truths, found, dataset.class_names)
    routed = RoutedImages(tuple(truths), {}, {})
    return Evaluation(routed=routed, mean_ap=mean_ap, detections=found, class_names=dataset.class_names)
