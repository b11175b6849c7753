"""Side distances of boxes, and their distribution focal loss."""

import math

import pytest
import torch

from training.losses.box import distribution_focal_loss, side_distances
from training.ops.anchors import decode_boxes

POINT, STRIDE = torch.tensor([[100.0, 50.0]]), torch.tensor([[8.0]])


def box(*sides):
    return torch.tensor([sides], dtype=torch.float32)


def test_distances_are_left_top_right_bottom_in_strides():
    distances = side_distances(POINT, STRIDE, box(92, 46, 124, 90), reg_max=16)
    assert distances.tolist() == [[1.0, 0.5, 3.0, 5.0]]


def test_distances_decode_to_the_box_they_came_from():
    distances = side_distances(POINT, STRIDE, box(92, 42, 124, 90), reg_max=16)
    logits = torch.full((1, 1, 4, 16), -100.0)
    for side, distance in enumerate(distances[0].int().tolist()):
        logits[0, 0, side, distance] = 100.0
    assert decode_boxes(logits, POINT, STRIDE).tolist() == [[[92, 42, 124, 90]]]


@pytest.mark.parametrize(
    ("side", "expected"),
    [
        pytest.param(100.0, 0.0, id="the point is on the side"),
        pytest.param(108.0, 0.0, id="the point is outside: no negative distance"),
        pytest.param(100.0 - 8 * 14, 14.0, id="within reach"),
        pytest.param(100.0 - 8 * 15, 14.99, id="at the last bin: short of it, so that two bins share"),
        pytest.param(-1e6, 14.99, id="out of reach"),
    ],
)
def test_distances_are_clipped_into_the_bins(side, expected):
    distances = side_distances(POINT, STRIDE, box(side, 50, 100, 50), reg_max=16)
    assert distances[0, 0].item() == pytest.approx(expected)


def loss_of(probabilities, distance):
    """The loss of one anchor whose four sides all say the same."""
    logits = torch.tensor(probabilities).log().expand(1, 4, len(probabilities))
    return distribution_focal_loss(logits, torch.full((1, 4), distance)).item()


@pytest.mark.parametrize(
    ("probabilities", "distance", "expected"),
    [
        pytest.param([0.25, 0.25, 0.25, 0.25], 1.5, math.log(4), id="even belief: log of the bins"),
        pytest.param([0.2, 0.5, 0.2, 0.1], 1.0, -math.log(0.5), id="on a bin: that bin alone"),
        pytest.param([0.2, 0.5, 0.2, 0.1], 0.0, -math.log(0.2), id="on the first bin"),
        pytest.param(
            [0.2, 0.5, 0.2, 0.1],
            1.25,
            -0.75 * math.log(0.5) - 0.25 * math.log(0.2),
            id="a quarter of the way: shared three to one",
        ),
    ],
)
def test_loss_by_hand(probabilities, distance, expected):
    assert loss_of(probabilities, distance) == pytest.approx(expected, rel=1e-6)


def test_the_loss_is_the_mean_of_the_four_sides():
    logits = torch.tensor([0.25, 0.5, 0.125, 0.125]).log().expand(1, 4, 4)
    loss = distribution_focal_loss(logits, torch.tensor([[0.0, 1.0, 1.0, 2.0]]))
    assert loss.tolist() == pytest.approx([math.log(2) * (2 + 1 + 1 + 3) / 4])


def test_the_loss_is_least_where_two_bins_share_by_nearness():
    right = [1e-6, 0.7 - 1e-6, 0.3 - 1e-6, 1e-6]
    least = loss_of(right, 1.3)
    for bins, shift in [((1, 2), 0.05), ((2, 1), 0.05), ((1, 3), 0.05), ((2, 0), 0.05)]:
        moved = list(right)
        moved[bins[0]] -= shift
        moved[bins[1]] += shift
        assert loss_of(moved, 1.3) > least


def test_the_gradient_pulls_each_side_towards_its_two_bins():
    logits = torch.zeros(1, 4, 4, requires_grad=True)
    distribution_focal_loss(logits, torch.full((1, 4), 1.25)).sum().backward()
    # Softmax less target, 1/4 - (0, 0.75, 0.25, 0), over 4 sides.
    assert logits.grad[0, 0].tolist() == pytest.approx([0.0625, -0.125, 0.0, 0.0625])


def test_no_anchors_have_no_losses():
    assert distribution_focal_loss(torch.zeros(0, 4, 16), torch.zeros(0, 4)).shape == (0,)
    assert side_distances(torch.zeros(0, 2), torch.zeros(0, 1), torch.zeros(0, 4), 16).shape == (0, 4)
