"""Evaluate a network that detects objects: its mAP and the use of its experts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from training.config import TaskName
from training.data.evaluation import EvaluationBatch, Truth
from training.data.images.letterbox import Letterbox
from training.data.sample import Dataset
from training.errors import DatasetError
from training.evaluate.curves import Curves, curves_of
from training.evaluate.detections import Candidates, DetectConfig, Detections
from training.evaluate.matches import match_by_class
from training.evaluate.mean_ap import MeanAp, mean_average_precision
from training.evaluate.objects.boxes import BOXES
from training.evaluate.objects.kind import ObjectKind
from training.evaluate.objects.kinds import kind_of
from training.evaluate.routed import Result, RoutedImages, route_images
from training.models.detector import Detector, Predictions
from training.models.mixture.routing import RoutingControls
from training.progress import bar


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation(Result):
    """A network's mAP, detections and routing on a data set."""

    task: TaskName = "detect"
    kind: ObjectKind = BOXES  # the kind of objects that mean_ap compares
    mean_ap: MeanAp
    box_ap: MeanAp | None = None  # mAP of the boxes, if `kind` is masks or keypoints
    detections: Sequence[Detections] = ()  # of each image, in the order of the data set
    class_names: tuple[str, ...] = ()

    @cached_property
    def curves(self) -> Curves:
        """Return the network's precision, recall and F1 at every confidence."""
        matches = match_by_class(self.routed.truths, self.detections, len(self.class_names), kind=self.kind)
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
    """Evaluate a network in float32 on the model's device.

    Each expert runs only on the images for which the router chose it.

    Raises:
        DatasetError: the data set has other classes than the model, no labelled object, or an image that
            cannot be loaded.
    """
    check_classes(model.config.class_names, dataset.class_names)
    config, kind = model.config, kind_of(model.config)
    found: list[Detections] = []

    def keep(batch: EvaluationBatch, predictions: Predictions) -> None:
        candidates = Candidates.select(
            model.decode(predictions), DetectConfig.candidates, predictions.prototypes
        )
        for row, truth in enumerate(batch.truths):
            placed = Letterbox.fit(truth.image_hw, config.input_hw)
            found.append(kind.keep(candidates.of_image(row), placed, truth.image_hw, DetectConfig()))

    routed = route_images(model, dataset, controls, batch_size=batch_size, what="evaluate", keep=keep)
    return evaluation_of(routed, found, config.class_names, config.task, kind)


def evaluate_with(
    detect: Callable[[bytes], Detections],
    dataset: Dataset,
    task: TaskName = "detect",
    kind: ObjectKind = BOXES,
) -> Evaluation:
    """Evaluate a function that returns the detections of an encoded image, without measuring routing."""
    truths, found = [], []
    with bar(len(dataset), "image", "evaluate") as progress:
        for index in range(len(dataset)):
            truths.append(Truth.of(dataset.load(index)))
            found.append(detect(dataset.encoded(index)))
            progress.update()
    return evaluation_of(RoutedImages(tuple(truths), {}, {}), found, dataset.class_names, task, kind)


def evaluation_of(
    routed: RoutedImages,
    found: Sequence[Detections],
    class_names: tuple[str, ...],
    task: TaskName,
    kind: ObjectKind,
) -> Evaluation:
    """Score the detections of a data set's images; the detections are in the order of the data set."""
    of_boxes = kind.name in ("masks", "keypoints")
    return Evaluation(
        task=task,
        kind=kind,
        routed=routed,
        mean_ap=mean_average_precision(routed.truths, found, class_names, kind),
        box_ap=mean_average_precision(routed.truths, found, class_names) if of_boxes else None,
        detections=found,
        class_names=class_names,
    )
