"""How far the routing of an image is from being another."""

from collections.abc import Sequence

import numpy as np

from training.export.contract.tensors import GATES, ROUTER_PROBS, Arrays
from training.models.mixture.routing import RoutingControls

# L mixture layers · E experts of the widest layer


def router_margin(outputs: Arrays, experts: Sequence[int], controls: RoutingControls) -> float | None:
    """Return how near the closest layer is to choosing other experts, as a gap in probability.

    Two kinds of gap count, and the smallest over all layers is returned:

    - between the least probable chosen expert and the most probable refused one;
    - between either of these two and the threshold, where the threshold could change the choice.

    Args:
        outputs: by role; gates and router_probs (1, L, E) of one image under these controls.
        experts: number of experts of each layer; the entries of its row after that number are padding.
        controls: plain numbers.

    Returns:
        The gap, or None if no choice could change: every layer runs all of its experts, or none.
    """
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
