"""Measure routing on a data set: information about the images, and use of experts, by layer and by path."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.data.sample import Dataset
from training.evaluate.compute_use import ComputeUse, compute_use, used_gflops
from training.evaluate.dependence import PERMUTATIONS, Dependence, dependence
from training.evaluate.expert_use import LayerUse, chosen_sets, is_static, layer_use
from training.evaluate.groups import Grouping, group_images
from training.evaluate.routed import RoutedImages, RoutedPaths
from training.models.cost import Cost

GOAL_BITS = 0.5  # each goal must be met in at least half of the layers
GOAL_NMI = 0.3
GOAL_P = 0.01
GOAL_PATH_BITS = 1.5  # in the choice of a path


@dataclass(frozen=True)
class LayerRouting:
    """The use of one mixture layer's experts, and how it depends on groups of images."""

    use: LayerUse
    by_grouping: Mapping[str, Dependence]  # between the set of experts and the group

    @property
    def informed(self) -> bool:
        """Return whether the router's information about the image is at least GOAL_BITS bits."""
        return self.use.information_bits >= GOAL_BITS

    def follows(self, grouping: str) -> bool:
        """Return whether the choice of experts depends on the group: NMI >= GOAL_NMI and p < GOAL_P."""
        found = self.by_grouping.get(grouping)
        return found is not None and found.nmi >= GOAL_NMI and found.p_value < GOAL_P


@dataclass(frozen=True)
class Goal:
    """A requirement on routing, the measured values as text, and whether they meet the requirement."""

    what: str
    found: str
    met: bool


@dataclass(frozen=True, eq=False)
class PathRouting:
    """The use of a network's paths, how it depends on groups of images, and the experts of each path."""

    choice: LayerRouting  # its experts are the paths
    paths: RoutedPaths

    @property
    def goals(self) -> tuple[Goal, ...]:
        """Return the goals for the choice of a path; the last one needs images of several origins."""
        use, by_origin = self.choice.use, self.choice.by_grouping.get("origin")
        dead, bits = len(use.dead_experts), use.information_bits
        goals = [
            Goal(f"at least {GOAL_PATH_BITS:g} bit in the path", f"{bits:.2f}", bits >= GOAL_PATH_BITS),
            Goal(
                "every path taken by some image",
                f"{len(use.expert_share) - dead} of {len(use.expert_share)}",
                dead == 0,
            ),
        ]
        if by_origin is not None:
            what = f"NMI of path and origin at least {GOAL_NMI:g}, p < {GOAL_P:g}"
            found = f"{by_origin.nmi:.2f}, p {by_origin.p_value:.4f}"
            goals.append(Goal(what, found, self.choice.follows("origin")))
        return tuple(goals)


@dataclass(frozen=True, eq=False)
class RoutingReport:
    """The routing of a model on a data set, by layer, and the GFLOPs that images used."""

    images: int
    layers: tuple[LayerRouting, ...]
    groupings: tuple[Grouping, ...]
    compute: ComputeUse
    path: PathRouting | None = None  # of a network with paths

    @property
    def static(self) -> bool:
        """Return whether every layer's information about the image is below STATIC_BELOW_BITS."""
        return is_static([layer.use for layer in self.layers])

    @property
    def goals(self) -> tuple[Goal, ...]:
        """Return the goals, and whether the model meets each of them.

        There are three kinds of goals for layers. In at least half of the layers, the router's information
        about the image is large enough. Every expert runs for some image. For each grouping, the choice of
        experts depends on the image's group in at least half of the layers. For a network with paths, the
        goals of PathRouting come first.
        """
        dead = sum(len(layer.use.dead_experts) for layer in self.layers)
        experts = sum(len(layer.use.expert_share) for layer in self.layers)
        following = (
            self._in_half(
                f"NMI with {grouping.name} at least {GOAL_NMI:g}, p < {GOAL_P:g},",
                [layer.follows(grouping.name) for layer in self.layers],
            )
            for grouping in self.groupings
        )
        return (
            *(() if self.path is None else self.path.goals),
            self._in_half(f"at least {GOAL_BITS:g} bit", [layer.informed for layer in self.layers]),
            Goal("every expert chosen for some image", f"{experts - dead} of {experts}", dead == 0),
            *following,
        )

    def _in_half(self, what: str, layers: list[bool]) -> Goal:
        met = sum(layers) >= len(layers) / 2
        return Goal(f"{what} in half of the layers", f"{sum(layers)} of {len(layers)}", met)


def report_routing(
    routed: RoutedImages, dataset: Dataset, cost: Cost, *, permutations: int = PERMUTATIONS
) -> RoutingReport:
    """Measure the routing of the images of a data set.

    Args:
        routed: routing of the data set's images, in its order, with at least one mixture layer.
        cost: the cost of the same model.
        permutations: number of permutations for the p value of each dependence.
    """
    boxes_per_image = routed.boxes_per_image
    groupings = group_images(dataset, boxes_per_image, routed.image_classes)

    def dependences(ids: NDArray[np.int64]) -> dict[str, Dependence]:
        return {each.name: dependence(ids, each.ids, permutations=permutations) for each in groupings}

    layers = []
    for layer, gates in routed.gates.items():
        found = dependences(chosen_sets(gates).ids)
        layers.append(LayerRouting(layer_use(layer, gates, routed.probs[layer]), found))
    path = None
    if routed.paths is not None:
        choice = LayerRouting(routed.paths.use, dependences(routed.paths.taken))
        path = PathRouting(choice, routed.paths)
    density = next((grouping for grouping in groupings if grouping.name == "density"), None)
    compute = compute_use(cost, used_gflops(cost, routed.gates), boxes_per_image, density)
    return RoutingReport(len(routed.truths), tuple(layers), groupings, compute, path)
