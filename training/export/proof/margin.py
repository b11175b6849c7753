"""Measure how near the routing of an image is to another choice of experts."""

from collections.abc import Sequence

import numpy as np

from training.export.contract.tensors import GATES, ROUTER_PROBS, Arrays
from training.models.mixture.routing import RoutingControls

# L mixture layers · E experts of the widest layer


def router_margin(outputs: Arrays, experts: Sequence[int], controls: RoutingControls) -> float | None:
    """Return the smallest gap in probability at which a layer would choose other experts.

    In each layer, these gaps count: between the least probable chosen expert and the most probable other one,
    and between either expert and the threshold, if the threshold could change the choice.

    Args:
        outputs: by role, of one image; gates and router_probs (1, L, E).
        experts: number of experts of each layer; the rest of its row is padding.
        controls: of this image, as numbers.

    Returns:
        The gap, or None if every layer runs all of its experts, or none.
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
