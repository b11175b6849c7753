"""Measure a graph at several settings of its controls, and choose its defaults by the rule in defaults.py."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.evaluation import on_canvas
from training.data.sample import Dataset, Sample
from training.export.contract.precision import Tolerance
from training.export.contract.spec import GraphSpec
from training.export.contract.tensors import GATES
from training.export.graph.export_graph import Eager, graph_contract
from training.export.proof.defaults import Choice, Setting, candidates, choose
from training.export.proof.engine import Runner
from training.export.proof.margin import router_margin
from training.export.proof.parity import TIE
from training.export.tasks.tasks import export_task
from training.models.cost import Cost, measure_cost
from training.models.mixture.routing import RoutingControls
from training.models.network import Network
from training.progress import bar
from training.rounds import time_in_rounds

LEAST_IMAGES = 64  # with fewer, a single object may change the metric by more than it may fall
ROUNDS = 9
TIMED_IMAGES = 8
COMPARED_IMAGES = 128  # with the checkpoint

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ChoiceImages:
    """Labelled training images on which the defaults are chosen; none of them may be measured later."""

    name: str
    dataset: Dataset
    count: int  # as many images are used, spread evenly over the data set

    @property
    def indices(self) -> list[int]:
        """Return the indices of the images that are used."""
        return _spread(len(self.dataset), self.count)


def choose_defaults(
    model: Network, engine: Runner, spec: GraphSpec, images: ChoiceImages, tolerance: Tolerance
) -> Choice:
    """Measure a sparse graph of a model at several settings of its controls, and choose the defaults.

    With fewer than LEAST_IMAGES (64) images, nothing is measured, and the defaults stay as trained.

    Args:
        engine: runs the graph.
        tolerance: the tolerance for the graph's precision. It states how often the graph must choose the
            checkpoint's experts.

    Raises:
        DatasetError: an image cannot be loaded.
    """
    task, indices = export_task(model.config), images.indices
    if len(indices) < LEAST_IMAGES:
        few = f"{len(indices)} images of {images.name} are too few to choose by, {LEAST_IMAGES} are needed"
        log.warning(f"top_k and weight_threshold stay as trained: {few}")
        return Choice(model.default_controls(), f"as trained: {few}")
    asked, graph = candidates(model), _Graph(model, engine, spec)
    ms = graph.times_ms(images.dataset, [indices[i] for i in _spread(len(indices), TIMED_IMAGES)], asked)
    settings = []
    with bar(len(asked) * len(indices), "run", "choose defaults") as progress:
        for controls in asked:
            spent = _Spent(graph.cost)
            answers = spent.noted(graph.answers(images.dataset, indices, controls), progress.update)
            metric = task.metric(answers, images.dataset.class_names, model.config.input_hw)
            settings.append(
                Setting(
                    top_k=int(controls.top_k),
                    weight_threshold=float(controls.weight_threshold),
                    metric=metric,
                    expert_share=spent.expert_share,
                    gflops=graph.cost.fixed + spent.expert_gflops,
                    ms=ms[controls],
                )
            )
    chosen, reason = choose(settings, tolerance.expert_sets)
    while chosen is not settings[0] and chosen.same_experts is None:  # compared only as far as needed
        compared = replace(chosen, same_experts=graph.same_experts(images.dataset, indices, chosen.controls))
        settings = [compared if each is chosen else each for each in settings]
        chosen, reason = choose(settings, tolerance.expert_sets)
    found = Choice(chosen.controls, reason, images.name, len(indices), task.metric_name, tuple(settings))
    log.info(f"defaults of the controls, chosen on {found.images} images of {found.data}:\n{found.table}")
    log.info(f"top_k {chosen.top_k}, weight_threshold {chosen.weight_threshold:g}: {reason}")
    return found


class _Graph:
    """A model's graph that is loaded in an engine."""

    def __init__(self, model: Network, engine: Runner, spec: GraphSpec) -> None:
        self.cost = measure_cost(model)
        self._model, self._engine, self._spec = model, engine, spec
        self._contract = graph_contract(model.config, spec)

    def answers(
        self, dataset: Dataset, indices: Sequence[int], controls: RoutingControls
    ) -> Iterator[tuple[Sample, dict[str, NDArray[Any]]]]:
        """Yield each image with the graph's outputs for it; the outputs are by role."""
        for sample in map(dataset.load, indices):
            yield sample, self._contract.by_role(self._engine.run(self._feed(sample, controls)), slice(1))

    def times_ms(
        self, dataset: Dataset, indices: Sequence[int], asked: Sequence[RoutingControls]
    ) -> dict[RoutingControls, float]:
        """Return the milliseconds for one image with each setting; each round times every setting once.

        The first setting's time is the median over the rounds. For each other setting, the ratio of its time
        to the first setting's time is computed in each round, because the machine may be busier in some
        rounds. The setting's time is the median of these ratios, times the first setting's time.
        """
        samples = [dataset.load(index) for index in indices]

        def run(inputs: Sequence[dict[str, NDArray[Any]]]) -> None:
            for each in inputs:
                self._engine.run(each)

        runs: dict[RoutingControls, Callable[[], object]] = {
            controls: partial(run, [self._feed(sample, controls) for sample in samples]) for controls in asked
        }
        seconds = {each: np.array(times) for each, times in time_in_rounds(runs, (), ROUNDS).seconds.items()}
        first = seconds[asked[0]]
        first_ms = float(np.median(first)) * 1000 / len(samples)
        return {each: round(first_ms * float(np.median(of / first)), 3) for each, of in seconds.items()}

    def same_experts(self, dataset: Dataset, indices: Sequence[int], controls: RoutingControls) -> float:
        """Return the share of (image, layer) pairs for which the graph chooses the checkpoint's experts.

        Images on which a router is within TIE of a tie are left out, as in the comparison before a release.
        """
        reference = Eager(self._model, self._spec)
        experts = [len(layer.experts) for layer in self._model.mixture_layers().values()]
        equal = []
        compared = [indices[i] for i in _spread(len(indices), COMPARED_IMAGES)]
        with bar(len(compared), "image", "compare") as progress:
            for sample, got in self.answers(dataset, compared, controls):
                want = reference.answer(self._canvas(sample), controls)
                margin = router_margin(
                    want, experts, controls
                )  # names and roles of these outputs are the same
                if margin is None or margin >= TIE:
                    equal.append(((want[GATES] > 0) == (got[GATES] > 0)).all(axis=-1).mean())
                progress.update()
        return float(np.mean(equal)) if equal else 0.0

    def _feed(self, sample: Sample, controls: RoutingControls) -> dict[str, NDArray[Any]]:
        return self._contract.feed([self._canvas(sample)], [controls])

    def _canvas(self, sample: Sample) -> NDArray[np.uint8]:
        return on_canvas(sample.image, self._model.config.input_hw, self._model.resize)


class _Spent:
    """The experts that ran, collected image by image."""

    def __init__(self, cost: Cost) -> None:
        widest = max(map(len, cost.experts.values()))
        # (L, E) GFLOPs of each expert, in the order of the rows of the gates; 0 where a layer has no expert
        self._gflops = np.array([[*each, *[0.0] * (widest - len(each))] for each in cost.experts.values()])
        self._experts = sum(map(len, cost.experts.values()))
        self._shares: list[float] = []
        self._spent: list[float] = []

    def noted(
        self, answers: Iterable[tuple[Sample, dict[str, NDArray[Any]]]], on_image: Callable[[], object]
    ) -> Iterator[tuple[Sample, dict[str, NDArray[Any]]]]:
        """Yield the answers, note which experts ran for them, and call on_image after each."""
        for sample, outputs in answers:
            ran = outputs[GATES][0] > 0
            self._shares.append(float(ran.sum()) / self._experts)
            self._spent.append(float((ran * self._gflops).sum()))
            yield sample, outputs
            on_image()

    @property
    def expert_share(self) -> float:
        """Return the fraction of experts that ran, counted over all layers and averaged over the images."""
        return float(np.mean(self._shares))

    @property
    def expert_gflops(self) -> float:
        """Return the GFLOPs of the experts that ran for an image, as the mean over the images."""
        return float(np.mean(self._spent))


def _spread(length: int, count: int) -> list[int]:
    """Return at most `count` evenly spread indices of a sequence of `length` items."""
    return [int(each) for each in np.linspace(0, length - 1, min(count, length)).round()]
