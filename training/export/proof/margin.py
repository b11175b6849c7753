"""Measure how small a change of router probabilities would make an image choose other experts."""

from collections.abc import Sequence

import numpy as np

from training.export.contract.tensors import GATES, PATH_PROBS, ROUTER_PROBS, Arrays
from training.models.mixture.routing import RoutingControls

# L mixture layers · E experts of the widest layer


def router_margin(outputs: Arrays, experts: Sequence[int], controls: RoutingControls) -> float | None:
    """Return the smallest change of a probability at which a layer would choose other experts.

    In each layer, two experts matter: the least probable of the chosen experts, and the most probable of the
    others. The result is the smallest gap, over all layers, between the probabilities of these two experts,
    or between one of them and the threshold if crossing the threshold would change the choice.

    In a model with paths, all layers follow the path: the result is the gap between the probabilities of the
    two most probable paths.

    Args:
        outputs: the outputs for one image, by role; gates and router_probs are (1, L, E), path_probs (1, P).
        experts: number of experts of each layer; the rest of the layer's row is padding.
        controls: the image's controls, as numbers.

    Returns:
        The gap, or None if every layer runs either all of its experts or none.
    """
    if PATH_PROBS in outputs:
        best, second = -np.sort(-outputs[PATH_PROBS][0])[:2]
        return float(best - second)
    margins: list[float] = []
    for gate, probs, count in zip(outputs[GATES][0], outputs[ROUTER_PROBS][0], experts, strict=True):
        falling = -np.sort(-probs[:count])
        chosen, allowed = int((gate > 0).sum()), min(int(controls.top_k), count)
        if not chosen:
            continue
        if chosen < count:
            margins.append(float(falling[chosen - 1] - falling[chosen]))
        if controls.weight_threshold > 0 and chosen < allowed:
            margins.append(float(controls.weight_threshold - falling[chosen]))
        if controls.weight_threshold > 0 and chosen > 1:
            margins.append(float(falling[chosen - 1] - controls.weight_threshold))
    return min(margins, default=None)
