"""Statistics of expert choices over many images."""

import numpy as np
import pytest

from training.evaluate.expert_use import LayerUse, chosen_sets, entropy_bits, is_static, layer_use


def use_of(rows, gates=None):
    probs = np.array(rows, np.float32)
    return layer_use("p4", probs if gates is None else np.array(gates, np.float32), probs)


@pytest.mark.parametrize(
    ("probabilities", "bits"),
    [((1, 0, 0, 0), 0), ((0.5, 0.5, 0, 0), 1), ((0.25,) * 4, 2), ((0.5, 0.25, 0.25, 0), 1.5), ((1,), 0)],
)
def test_entropy(probabilities, bits):
    assert entropy_bits(np.array(probabilities, np.float32)) == pytest.approx(bits)


@pytest.mark.parametrize(
    ("rows", "bits"),
    [
        pytest.param(np.eye(4), 2, id="decided and balanced: log2 E"),
        pytest.param([[0.7, 0.1, 0.1, 0.1]] * 5, 0, id="static: the same for every image"),
        pytest.param([[0.25] * 4] * 5, 0, id="undecided"),
        pytest.param([[1, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0]], 1, id="two of four in turn"),
        pytest.param([[1, 0, 0, 0]], 0, id="one image tells nothing"),
        # H(1/2, 1/2) - H(3/4, 1/4) = 1 - 0.811278
        pytest.param([[0.75, 0.25], [0.25, 0.75]], 0.188722, id="leaning"),
    ],
)
def test_information(rows, bits):
    assert use_of(rows).information_bits == pytest.approx(bits, abs=1e-6)


def test_rounding_never_makes_information_negative():
    rows = [[0.1, 0.2, 0.3, 0.4]] * 1000
    assert use_of(rows).information_bits >= 0


def test_shares_and_sets_count_experts_above_zero():
    gates = [[0.6, 0.4, 0, 0], [0.5, 0.5, 0, 0], [0.9, 0, 0.1, 0], [1.0, 0, 0, 0]]
    use = use_of([[0.25] * 4] * 4, gates)
    assert use.expert_share == (1.0, 0.5, 0.25, 0.0)
    assert use.mean_weight == pytest.approx((0.75, 0.225, 0.025, 0.0))
    assert use.distinct_sets == 3
    assert use.commonest_set_share == 0.5
    assert use.set_entropy_bits == 1.5  # of 1/2, 1/4, 1/4
    assert use.dead_experts == (3,)


def test_sets_come_commonest_first_and_every_image_has_its_own():
    gates = np.array([[1, 0, 0], [0, 0.5, 0.5], [0, 0.9, 0.1], [0, 0, 0]], np.float32)
    found = chosen_sets(gates)
    assert found.sets[0] == (1, 2)
    assert [found.sets[index] for index in found.ids] == [(0,), (1, 2), (1, 2), ()]


def test_one_set_has_no_entropy():
    use = use_of([[0.25] * 4] * 3, [[0.5, 0.5, 0, 0]] * 3)
    assert (use.set_entropy_bits, use.distinct_sets, use.commonest_set_share) == (0, 1, 1)


def test_where_no_expert_may_run_all_are_dead():
    assert use_of([[0.5, 0.5]] * 2, [[0.0, 0.0]] * 2).dead_experts == (0, 1)


def layer_with(bits):
    return LayerUse("p4", bits, (1.0,), (1.0,), 1, 1.0, 0.0)


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        pytest.param([], False, id="no mixture: nothing to be static"),
        pytest.param([0.0, 0.0499], True, id="all layers below"),
        pytest.param([0.0, 0.05], False, id="one layer at the limit routes"),
    ],
)
def test_static_means_that_no_layer_routes_by_the_image(bits, expected):
    assert is_static([layer_with(each) for each in bits]) is expected
