"""The routing of a model on its validation data. A server compares the routing of served images with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from training.data.sample import Dataset
from training.evaluate.dependence import normalised_mutual_information
from training.evaluate.expert_use import LayerUse, chosen_sets
from training.evaluate.groups import group_images
from training.evaluate.routed import RoutedImages


@dataclass(frozen=True)
class Baseline:
    """How a model routes the images of a data set, at its default top_k and threshold."""

    data: str  # name of the data set
    images: int
    uses: Sequence[LayerUse]  # of each mixture layer
    nmi: Mapping[str, Mapping[str, float]]  # by layer and grouping; see nmi_by_layer


def nmi_by_layer(routed: RoutedImages, dataset: Dataset) -> dict[str, dict[str, float]]:
    """Return the normalised mutual information (NMI) between the groups of images and the chosen experts.

    The result has one NMI for each mixture layer and each grouping. The experts that a layer chooses for an
    image count together as one value, the set of experts.
    """
    groupings = group_images(dataset, routed.boxes_per_image, routed.image_classes)
    found = {}
    for layer, gates in routed.gates.items():
        ids = chosen_sets(gates).ids
        found[layer] = {each.name: normalised_mutual_information(ids, each.ids) for each in groupings}
    return found


def nmi_of_paths(routed: RoutedImages, dataset: Dataset) -> dict[str, float]:
    """Return the NMI between the groups of images and their paths, by grouping; {} without paths."""
    if routed.paths is None:
        return {}
    groupings = group_images(dataset, routed.boxes_per_image, routed.image_classes)
    taken = routed.paths.taken
    return {each.name: normalised_mutual_information(taken, each.ids) for each in groupings}
