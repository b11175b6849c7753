"""How each image of a data set was routed, and what it held: what reports on routing are made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from training.data.evaluation import Truth, evaluation_batches
from training.data.sample import Dataset
from training.models.mixture.routing import Routing, RoutingControls
from training.models.network import Network
from training.progress import bar

# N images · E experts of a layer


@dataclass(frozen=True, eq=False)
class RoutedImages:
    """In the order of the data set. A few numbers an image: no map is kept."""

    truths: tuple[Truth, ...]
    gates: Mapping[str, NDArray[np.float32]]  # (N, E) by layer, in the order they ran
    probs: Mapping[str, NDArray[np.float32]]  # (N, E) by layer

    @property
    def boxes_per_image(self) -> NDArray[np.int64]:
        """(N,) labelled objects."""
        return np.array([len(truth.class_ids) for truth in self.truths], dtype=np.int64)

    @property
    def image_classes(self) -> NDArray[np.int64] | None:
        """(N,) of each image as a whole; None where images are labelled by their objects."""
        classes = [truth.image_class for truth in self.truths if truth.image_class is not None]
        return np.array(classes, dtype=np.int64) if len(classes) == len(self.truths) > 0 else None


class RoutingCollector:
    """Gathers routings batch by batch."""

    def __init__(self) -> None:
        self._truths: list[Truth] = []
        self._gates: dict[str, list[NDArray[np.float32]]] = {}
        self._probs: dict[str, list[NDArray[np.float32]]] = {}

    def add(self, truths: Sequence[Truth], routings: Mapping[str, Routing]) -> None:
        """The images of one batch, and how each layer routed them."""
        self._truths += truths
        for layer, routing in routings.items():
            self._gates.setdefault(layer, []).append(routing.gate.cpu().numpy())
            self._probs.setdefault(layer, []).append(routing.probs.cpu().numpy())

    def routed(self) -> RoutedImages:
        """Everything that was added."""
        gates = {layer: np.concatenate(parts) for layer, parts in self._gates.items()}
        probs = {layer: np.concatenate(parts) for layer, parts in self._probs.items()}
        return RoutedImages(tuple(self._truths), gates, probs)


@torch.inference_mode()
def route_images(
    model: Network,
    dataset: Dataset,
    controls: RoutingControls | None = None,
    *,
    batch_size: int = 8,
) -> RoutedImages:
    """Run a network over a data set for its routing alone, in float32, on the device the model is on.

    Raises:
        DatasetError: an image cannot be loaded.
    """
    model.eval()
    device = model.device
    collector = RoutingCollector()
    with bar(len(dataset), "image", "route") as progress:
        for batch in evaluation_batches(dataset, model.config.input_hw, batch_size, model.resize):
            predictions = model(batch.images.to(device), controls, dispatch="grouped")
            collector.add(batch.truths, predictions.routings)
            progress.update(len(batch.indices))
    return collector.routed()
