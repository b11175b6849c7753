"""Oriented boxes, compared with polygons of shapely and with Gaussians computed step by step."""

import math

import numpy as np
import pytest
import torch
from shapely.geometry import Point, Polygon

from training.ops.boxes import intersection, iou
from training.ops.nms import class_aware_nms
from training.ops.rotated import (
    corners_of,
    oriented_boxes,
    points_inside,
    prob_iou,
    rotated_intersection,
    rotated_iou,
    rotated_nms,
    to_oriented,
    unrotated,
    upright_angles,
)


def some_boxes(count, seed=0):
    """Draw oriented boxes (count, 5) that often overlap, of sides 4 to 64, in an image of 128 × 128."""
    generator = torch.Generator().manual_seed(seed)
    low = torch.tensor([32.0, 32.0, 4.0, 4.0, 0.0])
    span = torch.tensor([64.0, 64.0, 60.0, 60.0, math.pi])
    return (low + span * torch.rand(count, 5, generator=generator)).double()


def polygon(box):
    """Return the polygon of an oriented box, with corners from complex numbers."""
    x, y, width, height, angle = (float(value) for value in box)
    turn = complex(math.cos(angle), math.sin(angle))
    corners = []
    for right, down in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
        corner = complex(x, y) + turn * complex(right * width / 2, down * height / 2)
        corners.append((corner.real, corner.imag))
    return Polygon(corners)


def test_corners_are_those_of_the_turned_box_in_order():
    boxes = some_boxes(20)
    for box, corners in zip(boxes, corners_of(boxes), strict=True):
        assert corners.numpy() == pytest.approx(np.array(polygon(box).exterior.coords)[:4], abs=1e-9)


def test_a_quarter_turn_is_clockwise_on_the_image():
    corners = corners_of(torch.tensor([[10.0, 20.0, 8.0, 2.0, math.pi / 2]]))[0]
    # The top-left corner goes to the top right, where the box is 2 wide and 8 high.
    assert corners.numpy() == pytest.approx(np.array([[11, 16], [11, 24], [9, 24], [9, 16]]), abs=1e-5)


def test_boxes_come_back_from_their_corners():
    boxes = some_boxes(50)
    assert oriented_boxes(corners_of(boxes)).numpy() == pytest.approx(boxes.numpy(), abs=1e-9)


def test_corners_in_mirrored_order_give_the_mirrored_box():
    boxes = some_boxes(20)
    mirrored = corners_of(boxes) * torch.tensor([-1.0, 1.0])
    for corners, box in zip(mirrored, oriented_boxes(mirrored), strict=True):
        want = Polygon(corners.tolist())
        assert polygon(box).symmetric_difference(want).area == pytest.approx(0, abs=1e-6)


def test_a_quadrilateral_that_is_no_rectangle_gets_its_mean_sides_and_direction():
    # A trapezium with sides of 10 and 6 along x, symmetric about the y axis.
    box = oriented_boxes(torch.tensor([[-5.0, 0.0], [5.0, 0.0], [3.0, 4.0], [-3.0, 4.0]]))
    assert box.tolist() == pytest.approx([0, 2, 8, 4, 0])


@pytest.mark.parametrize(
    ("angle", "upright"),
    [
        (0.0, 0.0),
        (math.pi + 0.25, 0.25),
        (-0.25, math.pi - 0.25),
        (-1e-12, 0.0),
        (2 * math.pi - 1, math.pi - 1),
    ],
)
def test_angles_end_before_pi(angle, upright):
    found = upright_angles(torch.tensor(angle)).item()
    assert found == pytest.approx(upright, abs=1e-6)
    assert 0 <= found < math.pi


def test_unrotated_boxes_and_angles_are_an_oriented_box():
    boxes = some_boxes(5)
    again = to_oriented(unrotated(boxes), boxes[:, 4])
    assert again.numpy() == pytest.approx(boxes.numpy(), abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_overlaps_are_those_of_polygons(dtype):
    a, b = some_boxes(30), some_boxes(30, seed=1)
    shared = rotated_intersection(a[:, None].to(dtype), b[None].to(dtype))
    overlaps = rotated_iou(a[:, None].to(dtype), b[None].to(dtype))
    touching = 0
    for row, first in enumerate(map(polygon, a)):
        for column, second in enumerate(map(polygon, b)):
            want = first.intersection(second).area
            touching += want > 0
            assert shared[row, column].item() == pytest.approx(
                want, abs=2e-2 if dtype is torch.float32 else 1e-8
            )
            share = want / first.union(second).area
            assert overlaps[row, column].item() == pytest.approx(share, abs=1e-5)
    assert 100 < touching < 900  # some pairs overlap, some do not


def test_equal_half_and_inner_boxes_have_exact_overlaps_at_any_angle():
    for angle in torch.linspace(0, math.pi, 13).tolist():
        along = torch.tensor([math.cos(angle), math.sin(angle)])
        box = torch.tensor([50, 40, 20, 10, angle])
        half = torch.tensor([*(torch.tensor([50.0, 40.0]) - 5 * along), 10, 10, angle])  # shares three edges
        inner = torch.tensor([50, 40, 4, 5, angle + 1.0])
        turned = torch.tensor([50, 40, 10, 20, angle + math.pi / 2])  # the same box
        for other, want in ((box, 1.0), (half, 0.5), (inner, 0.1), (turned, 1.0)):
            assert rotated_iou(box, other).item() == pytest.approx(want, abs=1e-5)
            assert rotated_iou(other, box).item() == pytest.approx(want, abs=1e-5)


def test_boxes_that_only_touch_or_have_no_area_do_not_overlap():
    box = torch.tensor([0.0, 0.0, 10.0, 10.0, 0.0])
    others = torch.tensor([[10.0, 0, 10, 10, 0], [40, 0, 10, 10, 1], [0, 0, 0, 10, 0.5]])
    assert rotated_iou(box, others).tolist() == pytest.approx([0, 0, 0], abs=1e-7)


def test_at_angle_0_overlaps_are_those_of_upright_boxes():
    a, b = some_boxes(40), some_boxes(40, seed=1)
    a[:, 4] = b[:, 4] = 0
    assert rotated_intersection(a, b).numpy() == pytest.approx(
        intersection(unrotated(a), unrotated(b)).numpy()
    )
    assert rotated_iou(a, b).numpy() == pytest.approx(iou(unrotated(a), unrotated(b)).numpy())


def test_the_gradient_of_the_intersection_is_its_slope():
    a, b = some_boxes(6).requires_grad_(), some_boxes(6, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(rotated_iou, (a, b))


def gaussian(box):
    x, y, width, height, angle = (float(value) for value in box)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return np.array([x, y]), turn @ np.diag([width**2 / 12, height**2 / 12]) @ turn.T


def test_prob_iou_is_one_minus_the_hellinger_distance_of_two_gaussians():
    for a, b in zip(some_boxes(30), some_boxes(30, seed=1), strict=True):
        (a_mean, a_cov), (b_mean, b_cov) = gaussian(a), gaussian(b)
        cov, offset = (a_cov + b_cov) / 2, b_mean - a_mean
        distance = offset @ np.linalg.inv(cov) @ offset / 8
        dets = [np.linalg.det(each) for each in (cov, a_cov, b_cov)]
        distance += math.log(dets[0] / math.sqrt(dets[1] * dets[2])) / 2
        want = 1 - math.sqrt(1 - math.exp(-distance))
        assert prob_iou(a, b).item() == pytest.approx(want, abs=1e-5)


def test_prob_iou_of_a_box_and_itself_is_1_however_it_is_described():
    box = torch.tensor([50.0, 40.0, 200.0, 2.0, 0.3])
    turned = torch.tensor([50.0, 40.0, 2.0, 200.0, 0.3 + math.pi / 2])
    opposite = torch.tensor([50.0, 40.0, 200.0, 2.0, 0.3 + math.pi])
    assert prob_iou(box, torch.stack([box, turned, opposite])).tolist() == pytest.approx([1, 1, 1], abs=4e-4)


def test_points_inside_are_those_of_polygons():
    boxes = some_boxes(10)
    ys, xs = torch.meshgrid(torch.arange(0.5, 128, 8), torch.arange(0.5, 128, 8), indexing="ij")
    points = torch.stack([xs.flatten(), ys.flatten()], dim=1).double()
    found = points_inside(boxes, points)
    want = [[polygon(box).covers(Point(point.tolist())) for point in points] for box in boxes]
    assert found.tolist() == want
    assert found.any(dim=1).sum() > 5


def test_suppression_is_greedy_by_polygons_of_the_same_class():
    boxes = some_boxes(60)
    generator = torch.Generator().manual_seed(2)
    scores, class_ids = torch.rand(60, generator=generator), torch.randint(0, 2, (60,), generator=generator)
    kept: list[int] = []
    for index in scores.argsort(descending=True).tolist():
        box = polygon(boxes[index])
        rivals = [polygon(boxes[other]) for other in kept if class_ids[other] == class_ids[index]]
        if all(box.intersection(each).area / box.union(each).area <= 0.3 for each in rivals):
            kept.append(index)
    assert 0 < len(kept) < 60
    assert rotated_nms(boxes, scores, class_ids, 0.3, 100).tolist() == kept
    assert rotated_nms(boxes, scores, class_ids, 0.3, 5).tolist() == kept[:5]
    assert rotated_nms(boxes[:0], scores[:0], class_ids[:0], 0.3, 5).tolist() == []


def test_suppression_of_upright_boxes_is_that_of_detection():
    boxes = some_boxes(60)
    boxes[:, 4] = 0
    scores = torch.rand(60, generator=torch.Generator().manual_seed(2))
    classes = torch.zeros(60, dtype=torch.int64)
    want = class_aware_nms(unrotated(boxes), scores, classes, 0.3, 100)
    assert rotated_nms(boxes, scores, classes, 0.3, 100).tolist() == want.tolist()
