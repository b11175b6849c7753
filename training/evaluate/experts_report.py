"""Report what each expert and path serves: how often it is chosen for each origin, density and class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.sample import Dataset
from training.evaluate.groups import density_groups, origin_groups
from training.evaluate.routed import RoutedImages
from training.models.mixture.routing import RoutingControls

# N images · G groups · E experts of a layer

DIGITS = 4  # of a share


@dataclass(frozen=True, eq=False)
class Groups:
    """Named groups of images; an image may be in several groups, such as the classes of its objects."""

    name: str  # origin, density or class
    labels: tuple[str, ...]
    members: NDArray[np.bool_]  # (G, N) whether an image is in a group; no group is empty


def experts_report(
    routed: RoutedImages, dataset: Dataset, data: str, controls: RoutingControls
) -> dict[str, Any] | None:
    """Return the report as JSON, as model_repository/experts.schema.json describes it.

    Args:
        routed: routing of the data set's images, in its order.
        data: name of the data set.
        controls: the controls with which the images were routed.

    Returns:
        The report; None if no router chooses experts: there is no mixture layer, or top_k is 0.
    """
    if not routed.gates or controls.top_k == 0:
        return None
    groupings = [each for each in _groupings(routed, dataset) if len(each.labels) > 1]
    document = {
        "schema_version": 1,
        "data": data,
        "images": len(routed.truths),
        "controls": {"top_k": controls.top_k, "weight_threshold": float(controls.weight_threshold)},
        "groupings": [_described(each) for each in groupings],
        "layers": [
            {"layer": name, "expert_share": whole, "shares": by_group}
            for name, gates in routed.gates.items()
            for whole, by_group in [_shares(gates > 0, groupings)]
        ],
    }
    if routed.paths is not None:
        taken = routed.paths.taken[:, None] == np.arange(routed.paths.probs.shape[1])
        whole, by_group = _shares(taken, groupings)
        document["paths"] = {"path_share": whole, "shares": by_group}
    return document


def _groupings(routed: RoutedImages, dataset: Dataset) -> list[Groups]:
    partitions = (origin_groups(dataset), density_groups(routed.boxes_per_image))
    exclusive = [
        Groups(each.name, each.labels, np.arange(len(each.labels))[:, None] == each.ids)
        for each in partitions
        if each is not None
    ]
    return [*exclusive, _class_groups(routed, dataset.class_names)]


def _class_groups(routed: RoutedImages, class_names: Sequence[str]) -> Groups:
    """Return one group for each class: images with an object of it, or images that are labelled with it."""
    members = np.zeros((len(class_names), len(routed.truths)), dtype=np.bool_)
    for place, truth in enumerate(routed.truths):
        classes = truth.class_ids if truth.image_class is None else [truth.image_class]
        members[classes, place] = True
    present = np.flatnonzero(members.any(axis=1)).tolist()
    return Groups("class", tuple(class_names[index] for index in present), members[present])


def _described(groups: Groups) -> Mapping[str, Any]:
    counts = groups.members.sum(axis=1).tolist()
    rows = [{"label": label, "images": n} for label, n in zip(groups.labels, counts, strict=True)]
    return {"name": groups.name, "groups": rows}


def _shares(
    chosen: NDArray[np.bool_], groupings: Sequence[Groups]
) -> tuple[list[float], Mapping[str, list[list[float]]]]:
    """Return the shares of all images, and of each group's images, that chose each column of (N, E)."""
    by_group = {
        each.name: each.members @ chosen.astype(np.float64) / each.members.sum(axis=1, keepdims=True)
        for each in groupings
    }
    rounded = {name: shares.round(DIGITS).tolist() for name, shares in by_group.items()}
    return chosen.mean(axis=0).round(DIGITS).tolist(), rounded
