"""The routing and the labels of each image of a data set, from which all reports on routing are made."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.config import TaskName
from training.data.evaluation import EvaluationBatch, Truth, evaluation_batches
from training.data.sample import Dataset
from training.evaluate.expert_use import LayerUse, layer_use
from training.models.mixture.routing import RoutingControls
from training.models.network import Network
from training.progress import bar

# N images · E experts of a layer

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class RoutedImages:
    """Labels, gates and router probabilities of the images of a data set, in the order of the data set."""

    truths: tuple[Truth, ...]
    gates: Mapping[str, Array]  # (N, E) by layer, in the order of the layers
    probs: Mapping[str, Array]  # (N, E) by layer

    @property
    def boxes_per_image(self) -> NDArray[np.int64]:
        """Return the number of labelled objects in each image, (N,)."""
        return np.array([len(truth.class_ids) for truth in self.truths], dtype=np.int64)

    @property
    def image_classes(self) -> NDArray[np.int64] | None:
        """Return the class of each image, (N,); None if images are not labelled as a whole."""
        classes = [truth.image_class for truth in self.truths if truth.image_class is not None]
        return np.array(classes, dtype=np.int64) if len(classes) == len(self.truths) > 0 else None


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """The part of an evaluation's result that all tasks share: routing and labels.

    Each task has a subclass, which adds the task's metrics.
    """

    task: TaskName
    routed: RoutedImages

    @property
    def images(self) -> int:
        """Return the number of evaluated images."""
        return len(self.routed.truths)

    @property
    def experts(self) -> list[LayerUse]:
        """Return how the experts of each mixture layer were used."""
        return [layer_use(layer, gate, self.routed.probs[layer]) for layer, gate in self.routed.gates.items()]


@torch.inference_mode()
def route_images(
    model: Network,
    dataset: Dataset,
    controls: RoutingControls | None = None,
    *,
    batch_size: int = 8,
    what: str = "route",
    keep: Callable[[EvaluationBatch, Any], object] = lambda batch, predictions: None,
) -> RoutedImages:
    """Run a network on a data set, in float32 on the network's device; return the routing and the labels.

    Each expert runs only on the images for which the router chose it.

    Args:
        what: label of the progress bar.
        keep: called with every batch and the network's predictions for it.

    Raises:
        DatasetError: an image cannot be loaded.
    """
    model.eval()
    truths: list[Truth] = []
    gates, probs = dict[str, list[Array]](), dict[str, list[Array]]()
    with bar(len(dataset), "image", what) as progress:
        for batch in evaluation_batches(dataset, model.config.input_hw, batch_size, model.resize):
            predictions = model(batch.images.to(model.device), controls, dispatch="grouped")
            keep(batch, predictions)
            truths += batch.truths
            for layer, routing in predictions.routings.items():
                gates.setdefault(layer, []).append(routing.gate.cpu().numpy())
                probs.setdefault(layer, []).append(routing.probs.cpu().numpy())
            progress.update(len(batch.indices))
    return RoutedImages(tuple(truths), _joined(gates), _joined(probs))


def _joined(parts: Mapping[str, Sequence[Array]]) -> dict[str, Array]:
    return {layer: np.concatenate(each) for layer, each in parts.items()}
