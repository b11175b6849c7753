"""The result of a pruning: the kept experts, how often experts were used, and figures before and after."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from training.data.sample import Dataset
from training.evaluate.evaluator import Evaluation, evaluate
from training.evaluate.expert_use import LayerUse
from training.lab.prune.latency import Latency
from training.models.cost import measure_cost
from training.models.detector import Detector
from training.models.mixture.routing import RoutingControls
from training.models.network import count_parameters
from training.trainer.loop import compute_device


@dataclass(frozen=True)
class Side:
    """The experts, GFLOPs, mAP and other figures of a model, before or after pruning."""

    experts: Mapping[str, int]  # by layer
    top_k: int
    parameters: int
    dense_gflops: float  # for one image, every expert computed
    gflops: Mapping[int, float]  # by top_k, with the most expensive experts chosen
    metric: str  # which mAP the next two are: mAP, mask mAP, …
    map50: float  # 0..1, at its top_k
    map50_95: float
    bits: Mapping[str, float]  # routing information by layer, on the same images


@dataclass(frozen=True)
class Pruning:
    """The result of a pruning: the kept experts, and the figures of both models, for the report."""

    variant: str
    rule: str
    measured_on: str  # the data on which use was measured
    measured_images: int
    measured_top_k: int
    uses: Sequence[LayerUse]
    kept: Mapping[str, tuple[int, ...]]
    scored_on: str  # the data on which mAP and bits were measured
    scored_images: int
    before: Side
    after: Side
    weight_threshold: float
    latency: Latency | None  # None: not requested
    output: Path


def evaluate_here(model: Detector, dataset: Dataset, controls: RoutingControls | None = None) -> Evaluation:
    """Evaluate a model on the available device, and move it back to the CPU."""
    evaluation = evaluate(model.to(compute_device()), dataset, controls=controls)
    model.cpu()
    return evaluation


def side_of(model: Detector, dataset: Dataset) -> Side:
    """Return the figures of one model, measured on a data set."""
    evaluation, cost, config = evaluate_here(model, dataset), measure_cost(model), model.config
    return Side(
        experts={place: len(layer.experts) for place, layer in model.mixture_layers().items()},
        top_k=config.top_k,
        parameters=count_parameters(model),
        dense_gflops=cost.dense,
        gflops={top_k: cost.at_top_k(top_k) for top_k in config.allowed_top_k},
        metric=evaluation.kind.score,
        map50=evaluation.mean_ap.map50,
        map50_95=evaluation.mean_ap.map50_95,
        bits={use.layer: use.information_bits for use in evaluation.experts},
    )
