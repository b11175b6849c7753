"""Evaluate a detector on a data set: its mAP and the use of its experts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from training.data.evaluation import EvaluationBatch, Truth
from training.data.letterbox import Letterbox
from training.data.sample import Dataset
from training.errors import DatasetError
from training.evaluate.detections import DetectConfig, Detections, keep_detections
from training.evaluate.mean_ap import MeanAp, mean_average_precision
from training.evaluate.routed import Result, route_images
from training.models.detector import Detector, Predictions
from training.models.mixture.routing import RoutingControls
from training.ops.nms import select_candidates
from training.progress import bar


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation(Result):
    """A detector's results on a data set."""

    task = "detect"
    mean_ap: MeanAp
    detections: Sequence[Detections] = ()  # of each image, in the order of the data set


def check_classes(model_names: tuple[str, ...], data_names: tuple[str, ...]) -> None:
    """Raise DatasetError unless the data set labels the model's classes in the model's order."""
    if model_names != data_names:
        raise DatasetError(
            f"the data set labels {list(data_names)} but the model knows {list(model_names)}; "
            "evaluate it on data with the same classes in the same order"
        )


def evaluate(
    model: Detector,
    dataset: Dataset,
    config: DetectConfig | None = None,
    *,
    controls: RoutingControls | None = None,
    batch_size: int = 8,
) -> Evaluation:
    """Evaluate a detector in float32 on the model's device; experts run grouped.

    Raises:
        DatasetError: the data set has other classes than the model or holds no object, or an image cannot be
            loaded.
    """
    check_classes(model.config.class_names, dataset.class_names)
    config = config or DetectConfig()
    found: list[Detections] = []

    def keep(batch: EvaluationBatch, predictions: Predictions) -> None:
        candidates = select_candidates(*model.decode(predictions), config.candidates)
        for row, truth in enumerate(batch.truths):
            one = (candidates[0][row], candidates[1][row], candidates[2][row])
            placed = Letterbox.fit(truth.image_hw, model.config.input_hw)
            found.append(keep_detections(one, placed, truth.image_hw, config))

    routed = route_images(model, dataset, controls, batch_size=batch_size, what="evaluate", keep=keep)
    mean_ap = mean_average_precision(routed.truths, found, model.config.class_names)
    return Evaluation(routed=routed, mean_ap=mean_ap, detections=found)


def evaluate_with(detect: Callable[[bytes], Detections], dataset: Dataset) -> tuple[MeanAp, int]:
    """Return the mAP and the number of images; `detect` returns detections for an encoded image."""
    truths, found = [], []
    with bar(len(dataset), "image", "evaluate") as progress:
        for index in range(len(dataset)):
            truths.append(Truth.of(dataset.load(index)))
            found.append(detect(dataset.encoded(index)))
            progress.update()
    return mean_average_precision(truths, found, dataset.class_names), len(truths)
