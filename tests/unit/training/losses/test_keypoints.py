"""The loss of a pose network: what it measures, and that it can be learnt."""

import math
from dataclasses import replace

import pytest
import torch

from training.config import LossConfig
from training.losses.detection import detection_loss
from training.losses.keypoints import location_loss, pose_loss, visibility_loss
from training.models.detector import Detector, Predictions
from training.models.pose_estimator import PoseEstimator
from training.models.variants import model_config
from training.skeleton import Skeleton

PLAIN = model_config("yolov12-n", ("a", "b"), (64, 64))
SIGMAS = (0.03, 0.1, 0.1)
POINT_NAMES = Skeleton(names=("top", "left", "right"), flip_ids=(0, 2, 1), sigmas=SIGMAS)
CONFIG = replace(PLAIN, task="pose", skeleton=POINT_NAMES)
POINTS = torch.tensor([[[32.0, 20, 2], [20, 44, 1], [0, 0, 0]]])  # visible, hidden, not labelled
NONE = torch.zeros(0, dtype=torch.int64)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return PoseEstimator(CONFIG)


def truth_of(points=POINTS, image_ids=(0,)):
    objects = len(image_ids)
    boxes = torch.tensor([[16.0, 16, 48, 48]] * objects)
    return boxes, torch.ones(objects, dtype=torch.int64), torch.tensor(image_ids), points


def leaves(images=1):
    generator = torch.Generator().manual_seed(0)
    shapes = ((images, 84, 4, 16), (images, 84, 2), (images, 84, 9))
    return [torch.randn(*shape, generator=generator).requires_grad_() for shape in shapes]


def predictions_of(boxes, classes, raw):
    return Predictions(boxes, classes, {}, raw)


def test_the_location_loss_is_the_missing_similarity_and_the_distance_of_labelled_points():
    found = torch.tensor([[[32.0, 23], [20, 44], [9, 9]]])
    loss = location_loss(found, POINTS, torch.tensor([1024.0]), torch.tensor(SIGMAS))
    # Only the first point is wrong, by 3 pixels; two points are labelled.
    missing = 1 - math.exp(-(3**2) / (2 * 1024 * 0.06**2))
    far = math.sqrt((3 / 32) ** 2 + 1e-6) - 1e-3
    assert loss.tolist() == pytest.approx([(missing + far) / 2], rel=1e-5)


@pytest.mark.parametrize("pixels", [0.0, 0.5, 5, 500])
def test_a_point_is_pulled_towards_its_label_from_any_distance(pixels):
    found = torch.tensor([[[30.0 + pixels, 20], [0, 0], [0, 0]]], requires_grad=True)
    wanted = torch.tensor([[[30.0, 20, 2], [0, 0, 0], [0, 0, 0]]])
    location_loss(found, wanted, torch.tensor([1024.0]), torch.tensor(SIGMAS)).sum().backward()
    pull = found.grad[0, 0, 0].item()
    assert pull >= 0.9 / 32 if pixels else pull == 0  # of the distance in units of the object's side


def test_a_small_sigma_and_a_small_object_make_an_error_worse():
    found = torch.tensor([[[32.0, 23], [0, 0], [0, 0]], [[32, 20], [20, 47], [0, 0]]])
    wanted = POINTS.expand(2, -1, -1).clone()
    wanted[0, 1, 2] = 0  # one labelled point each, 3 pixels away
    wanted[1, 0, 2] = 0
    large, small = (
        location_loss(found, wanted, torch.tensor([area, area]), torch.tensor(SIGMAS))
        for area in (1024.0, 256.0)
    )
    assert large[0] > large[1]
    assert bool((small > large).all())


def test_the_visibility_loss_asks_which_places_are_labelled():
    logits = torch.tensor([[2.0, -1.0, 0.5], [2.0, -1.0, 0.5]])
    wanted = torch.stack([POINTS[0], POINTS[0] * torch.tensor([1, 1, 0])])
    chances = [1 / (1 + math.exp(-logit)) for logit in (2.0, -1.0, 0.5)]
    want = -(math.log(chances[0]) + math.log(chances[1]) + math.log(1 - chances[2])) / 3
    assert visibility_loss(logits, wanted).tolist() == pytest.approx([want, 0])


def right_keypoints(model):
    """Return raw keypoints (1, A, 9) of a network that knows POINTS."""
    corner = model.points - model.strides / 2
    xy = (POINTS[0, None, :, :2] - corner[:, None]) / model.strides[:, None] / 2  # (A, P, 2)
    logits = torch.where(POINTS[0, :, 2:] > 0, 20.0, -20.0).expand(84, -1, -1)
    return torch.cat([xy, logits], dim=-1).flatten(1)[None]


def test_right_keypoints_cost_nothing(model):
    boxes, classes, raw = (leaf.detach() for leaf in leaves())
    right = pose_loss(model, predictions_of(boxes, classes, right_keypoints(model)), truth_of(), LossConfig())
    wrong = pose_loss(model, predictions_of(boxes, classes, raw), truth_of(), LossConfig())
    for name in ("keypoints", "visibility"):
        assert right.parts[name].item() == pytest.approx(0, abs=1e-6)
        assert wrong.parts[name].item() > 1e-3


def test_the_other_terms_are_those_of_detection(model):
    detector = Detector(PLAIN)
    predictions = predictions_of(*leaves(2))
    truth = truth_of(POINTS.expand(3, -1, -1), (0, 1, 1))
    config = LossConfig(keypoints=3.0, visibility=5.0)
    own = pose_loss(model, predictions, truth, config)
    plain = detection_loss(detector, predictions, truth[:3], config)
    for name, term in plain.parts.items():
        assert own.parts[name].item() == term.item()
    further = 3 * own.parts["keypoints"].item() + 5 * own.parts["visibility"].item()
    assert own.total.item() == pytest.approx(plain.total.item() + 2 * further, rel=1e-6)


def test_a_model_without_sigmas_spreads_all_points_alike():
    assert PoseEstimator(
        replace(CONFIG, skeleton=replace(POINT_NAMES, sigmas=()))
    ).sigmas.tolist() == pytest.approx([0.05] * 3)


def test_gradients_reach_every_output_even_without_objects(model):
    for truth in (truth_of(), (torch.zeros(0, 4), NONE, NONE, torch.zeros(0, 3, 3))):
        parts = leaves()
        pose_loss(model, predictions_of(*parts), truth, LossConfig()).total.backward()
        assert all(part.grad is not None and part.grad.isfinite().all() for part in parts)
        assert bool(parts[2].grad.any()) == (len(truth[0]) > 0)


def test_a_network_learns_the_keypoints_of_an_image():
    torch.manual_seed(0)
    # With a small sigma, a point that starts far away has no gradient in so few steps.
    model = PoseEstimator(replace(CONFIG, skeleton=replace(POINT_NAMES, sigmas=(0.1, 0.1, 0.1)))).train()
    images = torch.full((1, 64, 64, 3), 90, dtype=torch.uint8)
    images[:, 16:48, 16:48] = 160
    images[:, 18:22, 30:34] = 250
    images[:, 42:46, 18:22] = 10
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(80):
        terms = pose_loss(model, model(images), truth_of(), LossConfig())
        optimizer.zero_grad()
        terms.total.backward()
        optimizer.step()
    with torch.no_grad():
        boxes, scores, keypoints = model.decode(model(images), limit=1)
    assert scores[0, 0].argmax() == 1
    assert boxes[0, 0].numpy() == pytest.approx(truth_of()[0][0].numpy(), abs=4)
    assert keypoints[0, 0, :2, :2].numpy() == pytest.approx(POINTS[0, :2, :2].numpy(), abs=3)
    assert (keypoints[0, 0, :, 2] > 0.5).tolist() == [True, True, False]
