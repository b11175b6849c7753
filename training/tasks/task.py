"""The interface of a task, such as detection, for all code that trains, measures and loads networks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from training.config import AugmentConfig, LossConfig, ModelConfig, OptimizerConfig, TaskName, TrainConfig
from training.data.loading.batch import Batch
from training.data.sample import Dataset, Sample
from training.data_config import Labels
from training.evaluate.routed import Result
from training.losses.terms import LossTerms, Total
from training.models.mixture.routing import RoutingControls
from training.models.network import Network

SMALL_DATA = OptimizerConfig(
    name="adamw",
    lr=1.4e-3,
    final_lr=1.4e-5,
    schedule="cosine",
    momentum=0.9,
    weight_decay=0.02,
    ema_decay=0.998,
    ema_tau_steps=300,
)


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """The task's input size, epochs, augmentation and optimizer in the recipes `small-data` and `quick`."""

    input_hw: tuple[int, int]
    quick_hw: tuple[int, int]
    epochs: int
    quick_epochs: int
    batch_size: int
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    quick_augment: AugmentConfig = field(default_factory=AugmentConfig)
    optimizer: OptimizerConfig = SMALL_DATA


class Task(Protocol):
    """The functions and settings with which a task, such as detection, trains and measures its networks.

    The networks, predictions and data sets that methods take and return must belong to the task.
    """

    name: TaskName
    labels: Labels  # what the network learns of each object, or of the whole image
    best_by: str  # name of the figure in `scores` that selects a run's best evaluation; higher is better
    without: tuple[str, ...]  # settings of a run that have no effect for this task
    defaults: Defaults

    def build(self, config: ModelConfig) -> Network:
        """Return a network with fresh weights."""

    def losses(self, family: LossConfig) -> LossConfig:
        """Return a family's loss weights, adapted to this task."""

    def check_labels(self, dataset: Dataset) -> None:
        """Check that the data set has the labels that this task learns; raise DatasetError otherwise."""

    def scale(self, sample: Sample, input_hw: tuple[int, int]) -> Sample:
        """Return a sample resized to the size at which loader.SampleMaker caches it in memory."""

    def augment(
        self, dataset: Dataset, index: int, rng: np.random.Generator, config: TrainConfig, epoch: int
    ) -> Sample:
        """Return an augmented sample for training in an epoch; epochs count from 0."""

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """Return augmented samples as one batch."""

    def loss(
        self, model: Network, predictions: Any, batch: Batch, config: LossConfig, total: Total
    ) -> LossTerms:
        """Return the loss of a network's predictions for a batch, or for the images that this process has."""

    def distillation(self, predictions: Any, teacher: Any, taught: Tensor, config: LossConfig) -> Tensor:
        """Return by how much predictions differ from those of a teacher, summed over the taught images.

        `teacher` has predictions for the taught images alone, whose indices in the batch are `taught` (T,).
        """

    def evaluate(
        self, model: Network, dataset: Dataset, *, controls: RoutingControls | None = None
    ) -> Result:
        """Return a network's results on a data set, in float32, on the network's device."""

    def scores(self, result: Any, dataset: Dataset) -> Mapping[str, float]:
        """Return the figures of an evaluation by name, for one line of metrics.jsonl."""

    def figures(self, result: Any) -> Mapping[str, float]:
        """Return the figures of an evaluation for an artifact's manifest, 0..1 each."""

    def report(self, result: Any) -> str:
        """Return an evaluation as text of several lines."""

    def report_json(self, result: Any) -> str:
        """Return an evaluation as JSON."""

    def sentence(self, scores: Mapping[str, float]) -> str:
        """Return the figures of `scores` as one line for people."""
