"""Compare two detectors on the same images."""

from typing import NamedTuple

from training.data.sample import Dataset
from training.evaluate.bootstrap import Difference, paired_bootstrap
from training.evaluate.compute_use import used_gflops
from training.evaluate.evaluator import Evaluation, evaluate
from training.evaluate.mean_ap import MeanAp
from training.models.cost import measure_cost
from training.models.detector import Detector
from training.models.mixture.routing import RoutingControls


class Compared(NamedTuple):
    """The results of one of two compared detectors."""

    name: str  # which of the two, variant, and how many experts ran
    mean_ap: MeanAp
    gflops: float  # mean over images; experts that did not run count 0


class Comparison(NamedTuple):
    """The results of two detectors, and by how much the first is better."""

    first: Compared
    second: Compared
    difference: Difference
    images: int


def compare(
    first: tuple[Detector, RoutingControls],
    second: tuple[Detector, RoutingControls],
    dataset: Dataset,
    *,
    draws: int = 1000,
) -> Comparison:
    """Measure two detectors on a data set, and return their results and how certain the difference is.

    Args:
        draws: number of bootstrap samples.

    Raises:
        DatasetError: the data set has other classes than a detector, holds no object, or has fewer than two
            images.
    """
    one, other = (evaluate(model, dataset, controls=controls) for model, controls in (first, second))
    difference = paired_bootstrap(one.routed.truths, one.detections, other.detections, draws=draws)
    sides = (_side("first: ", first, one), _side("second: ", second, other))
    return Comparison(*sides, difference, one.images)


def _side(place: str, of: tuple[Detector, RoutingControls], result: Evaluation) -> Compared:
    model, controls = of
    name = place + model.config.variant
    cost = measure_cost(model)
    if not model.config.mixtures:
        return Compared(name, result.mean_ap, cost.dense)
    used = float(used_gflops(cost, result.routed.gates).mean())
    return Compared(f"{name} K={controls.top_k}", result.mean_ap, used)
