"""Compare two detectors on the same images."""

from typing import NamedTuple

from training.data.sample import Dataset
from training.errors import ConfigError
from training.evaluate.bootstrap import Difference, paired_bootstrap
from training.evaluate.compute_use import used_gflops
from training.evaluate.evaluator import Evaluation, evaluate
from training.evaluate.mean_ap import MeanAp
from training.evaluate.objects.kind import ObjectKind
from training.models.cost import measure_cost
from training.models.detector import Detector
from training.models.mixture.routing import RoutingControls


class Compared(NamedTuple):
    """The results of one of two compared detectors."""

    name: str  # `first` or `second`, with the variant and the number of experts that ran
    mean_ap: MeanAp  # mAP of the objects that Comparison.kind names
    gflops: float  # mean over images; experts that did not run count 0


class Comparison(NamedTuple):
    """The results of two detectors, and by how much the first is better."""

    first: Compared
    second: Compared
    difference: Difference
    images: int
    kind: ObjectKind  # what is compared with the labels


def compare(
    first: tuple[Detector, RoutingControls],
    second: tuple[Detector, RoutingControls],
    dataset: Dataset,
    *,
    draws: int = 1000,
) -> Comparison:
    """Return the results of two detectors on a data set, and their difference with a bootstrap interval.

    Both must be for the same task. The mAP is that of the task's objects: boxes, masks, keypoints or oriented
    boxes.

    Args:
        draws: number of bootstrap samples.

    Raises:
        ConfigError: the detectors are for different tasks.
        DatasetError: the data set has other classes than one of the detectors, no object, or fewer than two
            images.
    """
    tasks = [model.config.task for model, _ in (first, second)]
    if tasks[0] != tasks[1]:
        raise ConfigError(f"models for {tasks[0]} and {tasks[1]} cannot be compared; give two for one task")
    one, other = (evaluate(model, dataset, controls=controls) for model, controls in (first, second))
    found = (one.detections, other.detections)
    difference = paired_bootstrap(one.routed.truths, *found, one.kind, draws=draws)
    sides = (_side("first", *first, one), _side("second", *second, other))
    return Comparison(*sides, difference, one.images, one.kind)


def _side(place: str, model: Detector, controls: RoutingControls, result: Evaluation) -> Compared:
    ran = f" K={controls.top_k}" if model.config.mixtures else ""
    gflops = float(used_gflops(measure_cost(model), result.routed.gates).mean())
    return Compared(f"{place}: {model.config.variant}{ran}", result.mean_ap, gflops)
