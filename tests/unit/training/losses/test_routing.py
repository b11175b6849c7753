"""The routing losses: values by hand, extreme values, and the direction of the gradients."""

from math import log, sqrt

import pytest
import torch

from training.config import LossConfig
from training.losses.routing import (
    balance_loss,
    coverage_loss,
    diversity_loss,
    information_loss,
    load_loss,
    routing_loss,
    z_loss,
)
from training.models.mixture.path import choose_path
from training.models.mixture.routing import RoutingControls, choose_experts


def routing_of(rows, top_k):
    """Routing for router probabilities (B, E)."""
    return choose_experts(torch.tensor(rows).log(), RoutingControls(top_k))


@pytest.mark.parametrize(
    ("rows", "top_k", "expected"),
    [
        pytest.param([[1.0, 0, 0, 0]] * 3, 1, 0.25 * 0.75, id="one expert takes all: (1 / E) (1 - 1 / E)"),
        pytest.param([[1.0, 0, 0, 0], [0, 1.0, 0, 0]], 1, 1 / 16, id="two of four share: all are 1/4 off"),
        pytest.param(torch.eye(4).tolist(), 1, 0.0, id="each image another expert"),
        pytest.param([[0.25] * 4], 4, 0.0, id="one image, all experts alike"),
        pytest.param([[0.4, 0.4, 0.1, 0.1], [0.1, 0.1, 0.4, 0.4]], 2, 0.0, id="pairs in turn"),
        # Weights 3/4 and 1/4, less 1/2.
        pytest.param([[0.75, 0.25]], 2, 1 / 16, id="uneven weights count, not only the choice"),
    ],
)
def test_balance(rows, top_k, expected):
    assert balance_loss(routing_of(rows, top_k)).item() == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(
    ("rows", "top_k", "expected"),
    [
        pytest.param([[1.0, 0, 0, 0]] * 3, 1, 4.0, id="one expert takes all: E / K"),
        pytest.param([[0.5, 0.5, 0, 0]] * 3, 2, 2.0, id="the same pair takes all: E / K"),
        pytest.param(torch.eye(4).tolist(), 1, 1.0, id="each image another expert"),
        pytest.param([[0.25] * 4] * 2, 4, 1.0, id="all experts alike"),
        pytest.param([[0.7, 0.1, 0.1, 0.1]] * 2, 4, 1.0, id="all chosen: the choice is even"),
        # Choices 2, 1, 1 of 4 times mean probabilities 0.5, 0.25, 0.25, times 3.
        pytest.param([[0.5, 0.4, 0.1], [0.5, 0.1, 0.4]], 2, 3 * (0.25 + 0.0625 + 0.0625), id="uneven"),
        pytest.param([[0.7, 0.1, 0.1, 0.1]], 0, 0.0, id="no expert runs"),
    ],
)
def test_load(rows, top_k, expected):
    assert load_loss(routing_of(rows, top_k)).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("logits", "expected"),
    [
        pytest.param([[0.0] * 4] * 2, log(4) ** 2, id="scores of 0: (ln E)²"),
        pytest.param([[log(0.5), log(0.3), log(0.2)]], 0.0, id="exponentials add up to 1: none"),
        pytest.param([[0.0, 0.0], [log(3), 0.0]], (log(2) ** 2 + log(4) ** 2) / 2, id="mean of the images"),
        pytest.param([[100.0, 0.0]], 1e4, id="large scores: their square"),
    ],
)
def test_z(logits, expected):
    routing = choose_experts(torch.tensor(logits), RoutingControls(1))
    assert z_loss(routing).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param([[0.25] * 4] * 2, 0.0, id="every image uses all equally"),
        pytest.param([[1.0, 0, 0, 0]] * 2, log(4) + sqrt(3), id="one expert takes all"),
        pytest.param(torch.eye(4).tolist(), log(4), id="decided, but each image another expert"),
        # Entropy of a fair coin lacks ln 2 of ln 4; means 1/2, 1/2, 0, 0 deviate by 1/4 from 1/4.
        pytest.param([[0.5, 0.5, 0, 0]], log(2) + 1, id="half of the experts"),
        pytest.param([[1.0]], 0.0, id="one expert"),
    ],
)
def test_diversity(rows, expected):
    rows = torch.tensor(rows).clamp(min=1e-12).tolist()  # a score of -inf is no score of a network
    assert diversity_loss(routing_of(rows, 1)).item() == pytest.approx(expected, abs=1e-6)


TERMS = [balance_loss, load_loss, z_loss, diversity_loss]


@pytest.mark.parametrize("term", TERMS)
def test_a_step_of_the_router_against_the_gradient_lowers_every_term(term):
    logits = torch.tensor([[1.0, 0.5, 0.0, -0.5], [0.9, 0.4, 0.1, -0.5]], requires_grad=True)
    loss = term(choose_experts(logits, RoutingControls(2)))
    loss.backward()
    assert (logits.grad[:, :2].abs() > 1e-3).all()
    with torch.no_grad():
        stepped = term(choose_experts(logits - 0.1 * logits.grad, RoutingControls(2)))
    assert stepped < loss


@pytest.mark.parametrize("term", TERMS)
def test_every_term_has_a_finite_gradient_where_experts_are_alike(term):
    logits = torch.zeros(3, 4, requires_grad=True)
    term(choose_experts(logits, RoutingControls(4))).backward()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("term", [load_loss, diversity_loss])
def test_an_expert_that_nobody_chose_is_pulled_up_by_what_sees_all_probabilities(term):
    logits = torch.tensor([[1.0, 0.9, 0.0, -0.5], [0.9, 1.0, 0.1, -0.5]], requires_grad=True)
    term(choose_experts(logits, RoutingControls(2))).backward()
    assert (logits.grad[:, 2:] < -1e-3).all()  # a step goes against the gradient
    assert (logits.grad[:, :2].sum() > 0).all()


def test_balance_gives_experts_that_were_not_chosen_no_gradient():
    logits = torch.tensor([[1.0, 0.5, 0.0, -0.5]], requires_grad=True)
    balance_loss(choose_experts(logits, RoutingControls(2))).backward()
    assert logits.grad[0, 2:].abs().max().item() < 1e-7
    assert logits.grad[0, :2].abs().min().item() > 1e-3


def test_balance_with_one_expert_an_image_its_weight_is_always_one_and_the_router_gets_no_gradient():
    logits = torch.tensor([[1.0, 0.5, 0.0]], requires_grad=True)
    balance_loss(choose_experts(logits, RoutingControls(1))).backward()
    assert logits.grad.abs().max().item() < 1e-7


def test_layers_are_added_up_and_no_layer_costs_nothing():
    like = torch.zeros((), dtype=torch.float32)
    one = routing_of([[1.0, 0, 0, 0]], 1)
    config = LossConfig(balance=2.0)
    assert routing_loss({}, config, like).item() == 0
    assert routing_loss({"a": one}, config, like).item() == pytest.approx(2 * 3 / 16)
    assert routing_loss({"a": one, "b": one}, config, like).item() == pytest.approx(2 * 6 / 16)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        pytest.param({}, 0.0, id="all off"),
        pytest.param({"balance": 2.0}, 2 * (1 / 16 + 0), id="balance: sum of the layers"),
        pytest.param({"load": 3.0}, 3 * (2 + 1), id="load: sum of the layers"),
        pytest.param({"z": 5.0}, 5 * (0 + log(2) ** 2), id="z: sum of the layers"),
        pytest.param({"diversity": 7.0}, 7 * (log(2) + 1 + 0) / 2, id="diversity: mean of the layers"),
        pytest.param({"information": 4.0}, 4 * (1 + 1) / 2, id="information: mean of the layers"),
        pytest.param({"load": 3.0, "z": 5.0}, 9 + 5 * log(2) ** 2, id="terms are added up"),
    ],
)
def test_each_weight_is_that_of_its_own_term(weights, expected):
    pair = routing_of([[0.5 - 1e-9, 0.5 - 1e-9, 1e-9, 1e-9]], 2)  # mean weights 1/2, 1/2, 0, 0
    even = choose_experts(torch.zeros(1, 2), RoutingControls(2))
    config = LossConfig(**{"balance": 0.0, **weights})
    total = routing_loss({"a": pair, "b": even}, config, torch.zeros(()))
    assert total.item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("rows", "bits", "expected"),
    [
        pytest.param(torch.eye(4).tolist(), 2.0, 0.0, id="each image another expert: log2 E bits"),
        pytest.param(torch.eye(4).tolist(), 1.0, 0.0, id="more than is asked for costs nothing"),
        pytest.param([[1.0, 0, 0, 0]] * 4, 1.0, 1.0, id="the same expert for all: none"),
        pytest.param([[0.25] * 4] * 4, 1.0, 1.0, id="undecided on all: none"),
        pytest.param([[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]], 1.5, 0.5, id="a pair each: one bit"),
    ],
)
def test_information(rows, bits, expected):
    assert information_loss(routing_of(rows, 2), bits).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param([[0.25] * 4] * 2, 0.0, id="all experts alike"),
        pytest.param(torch.eye(4).tolist(), 0.0, id="each image another expert"),
        pytest.param([[0.9, 0.1]], -log(4 * 0.9 * 0.1) / 2, id="uneven: half the logarithms"),
    ],
)
def test_coverage(rows, expected):
    assert coverage_loss(routing_of(rows, 1)).item() == pytest.approx(expected, abs=1e-6)


def test_coverage_pulls_up_an_expert_that_no_image_chose():
    logits = torch.tensor([[3.0, 0.0, -4.0], [0.0, 3.0, -4.0]], requires_grad=True)
    coverage_loss(choose_experts(logits, RoutingControls(1))).backward()
    assert (logits.grad[:, 2] < -0.1).all()


def test_information_has_a_gradient_where_probabilities_are_zero():
    logits = torch.tensor([[200.0, 0.0], [200.0, 0.0]], requires_grad=True)
    information_loss(choose_experts(logits, RoutingControls(1)), 1.0).backward()
    assert logits.grad.isfinite().all()


SAME = [[0.5, 0.5, 0, 0]] * 4  # of four paths, two have half of every image
DECIDED = torch.eye(4).tolist()


@pytest.mark.parametrize(
    ("weights", "rows", "expected"),
    [
        pytest.param({}, SAME, 0.0, id="all off"),
        pytest.param({"path_information": 0.5}, SAME, 0.5 * 2, id="no bit of two"),
        pytest.param({"path_information": 0.5}, DECIDED, 0.0, id="two bits of two"),
        pytest.param({"path_information": 0.5, "path_bits": 1.25}, SAME, 0.5 * 1.25, id="other bits"),
        pytest.param({"path_coverage": 3.0}, DECIDED, 0.0, id="every path has its image"),
        pytest.param({"path_load": 3.0}, DECIDED, 3.0, id="equal loads"),
        pytest.param({"path_load": 3.0}, SAME, 3 * 4 * 0.5, id="all take the first path, with half"),
        pytest.param({"information": 4.0, "coverage": 1.0}, SAME, 4 * 1.0, id="layers apart from paths"),
    ],
)
def test_the_terms_of_a_path_are_added_once_for_the_whole_network(weights, rows, expected):
    even = choose_experts(torch.zeros(4, 2), RoutingControls(2))  # a layer without information
    config = LossConfig(**{"balance": 0.0, **weights})
    layers = {"a": even, "b": even}
    total = routing_loss(layers, config, torch.zeros(()), path=routing_of(rows, 1))
    assert total.item() == pytest.approx(expected, abs=1e-5)
    if not {"information", "coverage"} & weights.keys():
        assert routing_loss(layers, config, torch.zeros(())).item() == 0, "a network without paths"


def test_coverage_of_paths_pulls_up_a_path_that_no_image_takes_also_where_the_choice_is_hard():
    logits = torch.tensor([[3.0, 0.0, -4.0], [0.0, 3.0, -4.0]], requires_grad=True)
    config = LossConfig(balance=0.0, path_coverage=1.0)
    routing_loss({}, config, torch.zeros(()), path=choose_path(logits, 0.0)).backward()
    assert (logits.grad[:, 2] < -0.1).all()


@pytest.mark.parametrize("softness", [0.0, 0.5, 1.0])
def test_the_load_of_a_path_is_of_the_images_that_would_take_it_also_while_paths_are_mixed(softness):
    logits = (
        torch.tensor([[0.55, 0.45]] * 3).log().requires_grad_()
    )  # the second path is near, and never best
    config = LossConfig(balance=0.0, path_load=1.0)
    routing_loss({}, config, torch.zeros(()), path=choose_path(logits, softness)).backward()
    assert (logits.grad[:, 0] > 0.05).all()
    assert (logits.grad[:, 1] < -0.05).all()
