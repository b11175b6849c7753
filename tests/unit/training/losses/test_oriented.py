"""The loss of a network for oriented boxes: what it measures, and that it can be learnt."""

import math
from dataclasses import replace

import pytest
import torch

from training.config import LossConfig
from training.losses.assigner import UPRIGHT, assign
from training.losses.assigner import anchors_inside as upright_inside
from training.losses.box import side_distances
from training.losses.oriented import ORIENTED, anchors_inside, nearest_turn, oriented_loss, turned_distances
from training.models.detector import Predictions
from training.models.heads.obb import turn_boxes
from training.models.oriented_detector import OrientedDetector
from training.models.variants import model_config
from training.ops.rotated import corners_of, in_frame, prob_iou, rotated_iou, to_oriented, unrotated

PLAIN = model_config("yolov12-n", ("a", "b"), (64, 64))
BOX = (32.0, 30.0, 44.0, 16.0, 0.6)
NONE = torch.zeros(0, dtype=torch.int64)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return OrientedDetector(replace(PLAIN, task="obb"))


def truth_of(*boxes):
    """Return objects of class 1 in the first image."""
    count = len(boxes)
    ids = torch.ones(count, dtype=torch.int64)
    return torch.tensor(boxes).reshape(-1, 5), ids, torch.zeros(count, dtype=torch.int64)


def leaves(images=1):
    generator = torch.Generator().manual_seed(0)
    shapes = ((images, 84, 4, 16), (images, 84, 2), (images, 84, 1))
    return [torch.randn(*shape, generator=generator).requires_grad_() for shape in shapes]


def predictions_of(boxes, classes, raw):
    return Predictions(boxes, classes, {}, raw)


def some_boxes(count):
    generator = torch.Generator().manual_seed(0)
    low, span = torch.tensor([16.0, 16, 20, 12, 0]), torch.tensor([32.0, 32, 24, 24, math.pi])
    return low + span * torch.rand(count, 5, generator=generator)


def test_decoding_the_distances_to_a_box_gives_the_box(model):
    for box in some_boxes(10):
        boxes = box.expand(84, 5)
        points, strides = model.points, model.strides
        distances = turned_distances(points, strides, boxes, 16)
        low, high = (distances * strides).split(2, dim=1)
        decoded = turn_boxes(torch.cat([points - low, points + high], dim=1), points, boxes[:, 4])
        inside = (in_frame(points, boxes).abs() < boxes[:, 2:4] / 2).all(dim=1)
        near = inside & (distances < 14.9).all(dim=1)  # distances are cut off below 15 strides
        assert near.sum() >= 5
        assert decoded[near].numpy() == pytest.approx(unrotated(boxes)[near].numpy(), abs=1e-4)


def test_at_angle_0_distances_and_candidates_are_those_of_upright_boxes(model):
    boxes = some_boxes(10)
    boxes[:, 4] = 0
    boxes[3, 2:4] = 3  # smaller than a cell
    assert torch.equal(anchors_inside(boxes, model.points), upright_inside(unrotated(boxes), model.points))
    points, strides = model.points[:10], model.strides[:10]
    found = turned_distances(points, strides, boxes, 16)
    assert found.numpy() == pytest.approx(
        side_distances(points, strides, unrotated(boxes), 16).numpy(), abs=1e-5
    )


def test_candidates_are_the_anchors_inside_the_turned_box(model):
    box = torch.tensor([BOX])
    corners = corners_of(box)[0]
    following = corners.roll(-1, dims=0)
    # A point is inside if it is on the same side of all four edges.
    for anchor, found in zip(model.points, anchors_inside(box, model.points)[0], strict=True):
        edge, offset = following - corners, anchor - corners
        sides = edge[:, 0] * offset[:, 1] - edge[:, 1] * offset[:, 0]
        assert found == (sides >= 0).all()


def test_a_tiny_or_thin_box_has_a_candidate_at_any_angle(model):
    for angle in torch.linspace(0, math.pi, 9).tolist():
        boxes = torch.tensor([[33.0, 29.0, 1.0, 1.0, angle], [31.0, 35.0, 40.0, 0.5, angle]])
        assert anchors_inside(boxes, model.points).any(dim=1).all()


def test_assignment_weighs_by_prob_iou(model):
    generator = torch.Generator().manual_seed(1)
    truth = truth_of(BOX)
    boxes = truth[0].expand(84, 5) + 3 * torch.rand(84, 5, generator=generator) * torch.tensor(
        [1, 1, 1, 1, 0.1]
    )
    scores = torch.rand(1, 84, 2, generator=generator)
    config = LossConfig(assign_top_k=4)
    targets = assign(boxes[None], scores, model.points, truth, config, ORIENTED)
    inside = anchors_inside(truth[0], model.points)[0]
    overlap = prob_iou(truth[0], boxes)
    alignment = scores[0, :, 1].sqrt() * overlap**6 * inside
    best = alignment.argsort(descending=True)[:4]
    assert targets.foreground[0].nonzero().flatten().tolist() == sorted(best.tolist())
    want = alignment[best] / alignment.max() * overlap[best].max()
    assert targets.class_scores[0, best, 1].tolist() == pytest.approx(want.tolist(), rel=1e-5)


def test_with_the_same_overlap_assignment_at_angle_0_is_that_of_detection(model):
    boxes = some_boxes(84)
    boxes[:, 4] = 0
    scores = torch.rand(1, 84, 2, generator=torch.Generator().manual_seed(1))
    ids, images = torch.ones(3, dtype=torch.int64), torch.zeros(3, dtype=torch.int64)
    geometry = ORIENTED._replace(overlap=lambda a, b: UPRIGHT.overlap(unrotated(a), unrotated(b)))
    found = assign(boxes[None], scores, model.points, (boxes[:3], ids, images), LossConfig(), geometry)
    upright = unrotated(boxes)
    want = assign(upright[None], scores, model.points, (upright[:3], ids, images), LossConfig())
    assert found.foreground.any()
    assert all(torch.equal(a, b) for a, b in zip(found, want, strict=True))


def test_a_box_is_turned_to_the_side_that_the_network_predicts():
    boxes = torch.tensor([[0.0, 0, 4, 2, 3.1], [0, 0, 4, 2, 0.5], [0, 0, 4, 2, 2.3]])
    angles = torch.tensor([-0.1, 0.4, -0.7])
    turned = nearest_turn(boxes, angles)
    distance = torch.remainder(turned[:, 4] - angles + math.pi, 2 * math.pi) - math.pi
    assert distance.tolist() == pytest.approx([3.1 + 0.1 - math.pi, 0.1, 2.3 + 0.7 - math.pi], abs=1e-5)
    assert torch.equal(turned[:, :4], boxes[:, :4])


def right_answer(model, box):
    """Return the predictions of a network that knows an object of class 1."""
    boxes = torch.tensor([box]).expand(84, 5)
    distances = turned_distances(model.points, model.strides, boxes, 16)
    below = distances.floor().long()[..., None]
    share = (distances - distances.floor())[..., None]
    belief = torch.full((84, 4, 16), 1e-9)
    belief.scatter_(2, below + 1, share + 1e-9)
    belief.scatter_(2, below, 1 - share + 1e-9)
    class_logits = torch.full((84, 2), -15.0)
    class_logits[anchors_inside(boxes[:1], model.points)[0], 1] = 15.0
    share_of_pi = torch.tensor(box[4] / math.pi + 0.25)
    return predictions_of(
        belief.log()[None], class_logits[None], share_of_pi.logit().expand(1, 84, 1).clone()
    )


@pytest.mark.parametrize("angle", [0.0, 0.6, 1.6, 2.3])
def test_right_boxes_cost_nothing_however_the_label_turns_them(model, angle):
    box = (*BOX[:4], angle)
    answer, config = right_answer(model, box), LossConfig(assign_top_k=100)
    least = oriented_loss(model, answer, truth_of(box), config)
    assert least.parts["box"].item() == pytest.approx(0, abs=2e-3)
    assert least.parts["classes"].item() == pytest.approx(0, abs=2e-2)
    opposite = oriented_loss(model, answer, truth_of((*BOX[:4], angle + math.pi)), config)
    for name in ("box", "dfl"):  # the entropy of a distance between two bins remains in dfl
        assert opposite.parts[name].item() == pytest.approx(least.parts[name].item(), abs=1e-3)
    off = oriented_loss(model, answer, truth_of((*BOX[:4], angle + 0.4)), config)
    assert off.parts["box"].item() > 0.1
    assert off.parts["dfl"].item() > least.parts["dfl"].item() + 0.1


def test_gradients_reach_every_output_even_without_objects(model):
    for truth in (truth_of(BOX), (torch.zeros(0, 5), NONE, NONE)):
        parts = leaves()
        oriented_loss(model, predictions_of(*parts), truth, LossConfig()).total.backward()
        assert all(part.grad is not None and part.grad.isfinite().all() for part in parts)
        assert bool(parts[2].grad.any()) == (len(truth[0]) > 0)


def test_a_network_learns_the_oriented_box_of_an_image():
    torch.manual_seed(0)
    model = OrientedDetector(replace(PLAIN, task="obb")).train()
    truth = truth_of(BOX)
    ys, xs = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(64) + 0.5, indexing="ij")
    place = in_frame(torch.stack([xs, ys], dim=-1), truth[0][0]).abs()
    inside = (place < truth[0][0, 2:4] / 2).all(dim=-1)
    images = torch.where(inside[None, ..., None], torch.tensor([220, 60, 40]), 90).to(torch.uint8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(100):
        terms = oriented_loss(model, model(images), truth, LossConfig())
        optimizer.zero_grad()
        terms.total.backward()
        optimizer.step()
    with torch.no_grad():
        boxes, scores, angles = model.decode(model(images), limit=1)
    assert scores[0, 0].argmax() == 1
    assert rotated_iou(to_oriented(boxes[0, 0], angles[0, 0]), truth[0][0]) > 0.8
