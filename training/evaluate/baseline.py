"""Routing on the data on which an artifact was measured; a server compares its own images with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from training.data.sample import Dataset
from training.evaluate.dependence import normalised_mutual_information
from training.evaluate.expert_use import LayerUse, chosen_sets
from training.evaluate.groups import group_images
from training.evaluate.routed import Result, RoutedImages


@dataclass(frozen=True)
class Baseline:
    """Routing figures of a data set, at the model's default top_k and threshold."""

    data: str  # name of the data set
    images: int
    uses: Sequence[LayerUse]  # of each mixture layer
    nmi: Mapping[str, Mapping[str, float]]  # by layer: of chosen set and group, by grouping


def routing_baseline(result: Result, dataset: Dataset, data: str) -> Baseline:
    """Return the routing figures of an evaluation; `data` is the name of the data set."""
    return Baseline(data, result.images, result.experts, nmi_by_layer(result.routed, dataset))


def nmi_by_layer(routed: RoutedImages, dataset: Dataset) -> dict[str, dict[str, float]]:
    """Return the normalised mutual information of chosen set and group, by layer and by grouping."""
    groupings = group_images(dataset, routed.boxes_per_image, routed.image_classes)
    found = {}
    for layer, gates in routed.gates.items():
        ids = chosen_sets(gates).ids
        found[layer] = {each.name: normalised_mutual_information(ids, each.ids) for each in groupings}
    return found
