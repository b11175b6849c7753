"""Area, IoU and complete IoU of boxes, compared with values computed by hand."""

import math

import pytest
import torch

from training.ops.boxes import area, complete_iou, intersection, iou


def boxes(*rows):
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


A = (0, 0, 10, 10)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        pytest.param((2, 3, 6, 13), 40, id="4 by 10"),
        pytest.param((2, 3, 2, 13), 0, id="no width"),
        pytest.param((6, 3, 2, 13), 0, id="turned inside out"),
        pytest.param((6, 13, 2, 3), 0, id="turned inside out both ways"),
    ],
)
def test_area(box, expected):
    assert area(boxes(box)).tolist() == [expected]


@pytest.mark.parametrize(
    ("other", "shared", "overlap"),
    [
        pytest.param(A, 100, 1.0, id="equal"),
        pytest.param((0, 0, 10, 5), 50, 0.5, id="half of it"),
        pytest.param((5, 5, 15, 15), 25, 25 / 175, id="a quarter of each"),
        pytest.param((10, 0, 20, 10), 0, 0.0, id="they touch"),
        pytest.param((20, 20, 30, 30), 0, 0.0, id="apart both ways: two negative sides make no area"),
        pytest.param((5, 5, 5, 5), 0, 0.0, id="a point inside"),
    ],
)
def test_intersection_and_iou(other, shared, overlap):
    assert intersection(boxes(A), boxes(other)).tolist() == [shared]
    assert iou(boxes(A), boxes(other)).tolist() == pytest.approx([overlap])


def test_two_points_at_one_place_overlap_by_nothing_rather_than_by_nan():
    assert iou(boxes((5, 5, 5, 5)), boxes((5, 5, 5, 5))).tolist() == [0.0]


@pytest.mark.parametrize("function", [intersection, iou, complete_iou])
def test_pairs_are_made_by_broadcasting(function):
    a, b = boxes(A, (5, 5, 15, 15)), boxes(A, (20, 20, 30, 30), (0, 0, 10, 5))
    table = function(a[:, None], b[None])
    assert table.shape == (2, 3)
    for row in range(2):
        for column in range(3):
            assert table[row, column] == function(a[row], b[column])


@pytest.mark.parametrize("function", [intersection, iou, complete_iou])
def test_no_pairs_give_no_overlaps(function):
    assert function(boxes(), boxes()).shape == (0,)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        pytest.param(A, 1.0, id="equal: no penalty"),
        # Centres 10 apart, enclosing box 20 by 10: 0 - 100 / 500.
        pytest.param((10, 0, 20, 10), -0.2, id="side by side, same shape: only the distance counts"),
        # Same centre, IoU 0.25: only the size differs, not the shape.
        pytest.param((2.5, 2.5, 7.5, 7.5), 0.25, id="half as large around the same centre"),
    ],
)
def test_complete_iou_of_boxes_of_one_shape(other, expected):
    assert complete_iou(boxes(A), boxes(other)).tolist() == pytest.approx([expected], abs=1e-5)


def test_complete_iou_takes_off_for_another_aspect_ratio():
    # 10 by 10 and 10 by 20 around one centre: IoU 100 / 200. v = 4 / π² (atan 1 - atan 1/2)².
    v = 4 / math.pi**2 * (math.atan(1) - math.atan(0.5)) ** 2
    expected = 0.5 - v / (1 - 0.5 + v) * v
    assert complete_iou(boxes((0, 5, 10, 15)), boxes((0, 0, 10, 20))).item() == pytest.approx(expected)


def test_complete_iou_may_fall_below_minus_one():
    flat, tall = boxes((0, 0, 100, 0.1)), boxes((1000, 1000, 1000.1, 1100))
    assert complete_iou(flat, tall).item() < -1


@pytest.mark.parametrize("predicted", [A, (30, 0, 32, 20), (5, 5, 5, 5)])
def test_the_gradient_of_complete_iou_is_finite(predicted):
    box = boxes(predicted).requires_grad_()
    complete_iou(box, boxes(A)).sum().backward()
    assert box.grad.isfinite().all()


def test_the_aspect_trade_off_is_a_weight_that_carries_no_gradient():
    box = boxes((2, 5, 8, 15)).requires_grad_()  # 6 by 10 in the middle of 10 by 20: IoU 60 / 200
    complete_iou(box, boxes((0, 0, 10, 20))).sum().backward()
    # One pixel to the right adds 10 to the shared area; the centres are as near as can be.
    d_overlap = 10 / 200
    angle = math.atan(6 / 10) - math.atan(10 / 20)
    v = 4 / math.pi**2 * angle**2
    d_v = 4 / math.pi**2 * 2 * angle * 10 / (6**2 + 10**2)  # d atan(w / h) / dw = h / (w² + h²)
    assert box.grad[0, 2].item() == pytest.approx(d_overlap - v / (1 - 0.3 + v) * d_v, rel=1e-5)
