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

# N images · E experts of a layer · P paths

Array = NDArray[np.float32]
PATH = "path"  # stands in place of a layer's name


@dataclass(frozen=True, eq=False)
class RoutedPaths:
    """The probabilities of the paths for each image, and what each path means in every layer."""

    probs: Array  # (N, P)
    table: Mapping[str, Array]  # (P, E) by layer: probability of each expert on each path

    @property
    def taken(self) -> NDArray[np.int64]:
        """Return the path of each image, (N,): the most probable one; in a tie, the first."""
        return self.probs.argmax(axis=1)

    @property
    def use(self) -> LayerUse:
        """Return how the paths were used, as if they were the experts of a layer."""
        return layer_use(PATH, np.eye(self.probs.shape[1], dtype=np.float32)[self.taken], self.probs)

    def ranked(self, layer: str) -> NDArray[np.int64]:
        """Return the experts of a layer on each path, best first, (P, E); at top_k K, the first K run."""
        return np.argsort(-self.table[layer], axis=1, kind="stable")

    def distinct(self, top_k: int) -> int:
        """Return the number of different paths: paths are equal if they run the same experts at `top_k`."""
        runs = [np.sort(self.ranked(layer)[:, :top_k], axis=1) for layer in self.table]
        return len(np.unique(np.concatenate(runs, axis=1), axis=0))


@dataclass(frozen=True, eq=False)
class RoutedImages:
    """Labels, gates and router probabilities of the images of a data set, in the order of the data set."""

    truths: tuple[Truth, ...]
    gates: Mapping[str, Array]  # (N, E) by layer, in the order of the layers
    probs: Mapping[str, Array]  # (N, E) by layer
    paths: RoutedPaths | None = None  # of a network with paths

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

    @property
    def paths(self) -> LayerUse | None:
        """Return how the paths were used, as if they were the experts of a layer; None without paths."""
        return None if self.routed.paths is None else self.routed.paths.use


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
    gates, probs, of_paths = dict[str, list[Array]](), dict[str, list[Array]](), list[Array]()
    with bar(len(dataset), "image", what) as progress:
        for batch in evaluation_batches(dataset, model.config.input_hw, batch_size, model.resize):
            predictions = model(batch.images.to(model.device), controls, dispatch="grouped")
            keep(batch, predictions)
            truths += batch.truths
            for layer, routing in predictions.routings.items():
                gates.setdefault(layer, []).append(routing.gate.cpu().numpy())
                probs.setdefault(layer, []).append(routing.probs.cpu().numpy())
            if predictions.path is not None:
                of_paths.append(predictions.path.probs.cpu().numpy())
            progress.update(len(batch.indices))
    paths = None
    if of_paths:
        table = model.path_table(controls or model.default_controls())
        by_path = {layer: routing.probs.cpu().numpy() for layer, routing in table.items()}
        paths = RoutedPaths(np.concatenate(of_paths), by_path)
    return RoutedImages(tuple(truths), _joined(gates), _joined(probs), paths)


def _joined(parts: Mapping[str, Sequence[Array]]) -> dict[str, Array]:
    return {layer: np.concatenate(each) for layer, each in parts.items()}
