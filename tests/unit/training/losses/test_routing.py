"""The penalty for uneven use of experts."""

import pytest
import torch

from training.losses.routing import balance_loss, total_balance_loss
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
def test_value(rows, top_k, expected):
    assert balance_loss(routing_of(rows, top_k)).item() == pytest.approx(expected, abs=1e-7)


def test_moving_the_router_moves_the_loss():
    logits = torch.tensor([[1.0, 0.5, 0.0, -0.5], [0.9, 0.4, 0.1, -0.5]], requires_grad=True)
    loss = balance_loss(choose_experts(logits, RoutingControls(2)))
    loss.backward()
    assert (logits.grad[:, :2].abs() > 1e-3).all()
    with torch.no_grad():
        stepped = balance_loss(choose_experts(logits - 0.1 * logits.grad, RoutingControls(2)))
    assert stepped < loss


def test_experts_that_were_not_chosen_get_no_gradient():
    logits = torch.tensor([[1.0, 0.5, 0.0, -0.5]], requires_grad=True)
    balance_loss(choose_experts(logits, RoutingControls(2))).backward()
    assert logits.grad[0, 2:].abs().max().item() < 1e-7
    assert logits.grad[0, :2].abs().min().item() > 1e-3


def test_with_one_expert_an_image_its_weight_is_always_one_and_the_router_gets_no_gradient():
    logits = torch.tensor([[1.0, 0.5, 0.0]], requires_grad=True)
    balance_loss(choose_experts(logits, RoutingControls(1))).backward()
    assert logits.grad.abs().max().item() < 1e-7


def test_layers_are_added_up_and_no_layer_costs_nothing():
    like = torch.zeros((), dtype=torch.float32)
    one = routing_of([[1.0, 0, 0, 0]], 1)
    assert total_balance_loss({}, like).item() == 0
    assert total_balance_loss({"a": one}, like).item() == pytest.approx(3 / 16)
    assert total_balance_loss({"a": one, "b": one}, like).item() == pytest.approx(6 / 16)
