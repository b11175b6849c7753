"""What routing was on the data that an artifact was measured on, for a server to compare its images with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from training.data.sample import Dataset
from training.evaluate.dependence import normalised_mutual_information
from training.evaluate.expert_use import LayerUse, chosen_sets
from training.evaluate.groups import group_images
from training.evaluate.routed import Result, RoutedImages


@dataclass(frozen=True)
class Baseline:
    """At the top_k and the threshold that the model has unless told otherwise."""

    data: str  # name of the data set
    images: int
    uses: Sequence[LayerUse]  # of each mixture layer
    nmi: Mapping[str, Mapping[str, float]]  # by layer, of the chosen set with each grouping of the data


def routing_baseline(result: Result, dataset: Dataset, data: str) -> Baseline:
    """Return what routing was in the evaluation of a data set; data is what that is called."""
    return Baseline(data, result.images, result.experts, nmi_by_layer(result.routed, dataset))


def nmi_by_layer(routed: RoutedImages, dataset: Dataset) -> dict[str, dict[str, float]]:
    """Return the normalised mutual information of chosen set and group, by layer and grouping of the data."""
    groupings = group_images(dataset, routed.boxes_per_image, routed.image_classes)
    found = {}
    for layer, gates in routed.gates.items():
        ids = chosen_sets(gates).ids
        found[layer] = {each.name: normalised_mutual_information(ids, each.ids) for each in groupings}
    return found
