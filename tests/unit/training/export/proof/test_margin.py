"""The router margin, on numbers that can be checked by hand."""

import numpy as np
import pytest

from training.export.proof.margin import router_margin
from training.models.mixture.routing import RoutingControls


def outputs(*layers):
    """Rows of (probabilities, ids of the chosen), padded with 0 to the widest, as a graph returns them."""
    widest = max(len(probs) for probs, _ in layers)
    probs, gates = np.zeros((1, len(layers), widest)), np.zeros((1, len(layers), widest))
    for row, (values, chosen) in enumerate(layers):
        probs[0, row, : len(values)] = values
        gates[0, row, list(chosen)] = 1 / max(len(chosen), 1)
    return {"gates": gates, "router_probs": probs}


@pytest.mark.parametrize(
    ("layers", "controls", "expected"),
    [
        pytest.param([([0.5, 0.2, 0.3], [0])], RoutingControls(1), 0.2, id="best and second"),
        pytest.param([([0.5, 0.2, 0.3], [0, 2])], RoutingControls(2), 0.1, id="second and third"),
        pytest.param(
            [([0.6, 0.4], [0, 1]), ([0.4, 0.3, 0.2, 0.1], [0, 1])],
            RoutingControls(2),
            0.1,
            id="a layer that runs all of its experts has none, and its padding is no expert",
        ),
        pytest.param([([0.6, 0.4], [0, 1])], RoutingControls(2), None, id="all run"),
        pytest.param([([0.6, 0.4], [])], RoutingControls(0), None, id="none runs"),
        pytest.param([([0.6, 0.4], [0, 1])], RoutingControls(2, 0.38), 0.02, id="all run, one only just"),
        pytest.param([([0.6, 0.4], [0])], RoutingControls(2, 0.43), 0.03, id="refused by the threshold"),
        pytest.param([([0.51, 0.49], [0])], RoutingControls(2, 0.9), 0.02, id="the best runs below it too"),
        pytest.param([([0.6, 0.4], [0])], RoutingControls(1, 0.41), 0.2, id="by rank, not threshold"),
    ],
)
def test_the_margin_is_the_smallest_change_that_would_choose_others(layers, controls, expected):
    experts = [len(probs) for probs, _ in layers]
    margin = router_margin(outputs(*layers), experts, controls)
    assert margin == (None if expected is None else pytest.approx(expected))
