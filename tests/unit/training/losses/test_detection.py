"""The detection loss: its terms, their weights, and the direction of their gradients."""

from dataclasses import replace

import pytest
import torch

from training.config import LossConfig
from training.losses.assigner import assign
from training.losses.box import side_distances
from training.losses.detection import detection_loss
from training.models.detector import Detector, Predictions
from training.models.mixture.routing import RoutingControls, choose_experts
from training.models.variants import model_config
from training.ops.boxes import complete_iou

BOX = (16.0, 16.0, 48.0, 48.0)
NO_OBJECTS = (torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Detector(model_config("yolov12-n", ("a", "b"), (64, 64)))


def object_in_each(images):
    """One object of class 1 in every image."""
    return torch.tensor([BOX] * images), torch.ones(images, dtype=torch.int64), torch.arange(images)


def leaves(images, seed=0):
    """Free logits for 84 anchors, 2 classes, 16 bins, and one router of 4 experts."""
    generator = torch.Generator().manual_seed(seed)
    shapes = ((images, 84, 4, 16), (images, 84, 2), (images, 4))
    return [torch.randn(*shape, generator=generator).requires_grad_() for shape in shapes]


def predictions_of(box_logits, class_logits, router_logits):
    return Predictions(
        box_logits, class_logits, {"backbone.p2": choose_experts(router_logits, RoutingControls(2))}
    )


def right_answer(model):
    """Logits (1, A, 4, R) and (1, A, C) of a detector that knows BOX and its class 1."""
    box = torch.tensor([BOX]).expand(84, 4)
    distances = side_distances(model.points, model.strides, box, 16)  # (A, 4)
    below = distances.floor().long()[..., None]
    belief = torch.full((84, 4, 16), 1e-8)
    belief.scatter_(2, below + 1, (distances - distances.floor())[..., None] + 1e-8)
    belief.scatter_(2, below, (1 - distances + distances.floor())[..., None] + 1e-8)
    inside = ((model.points >= 16) & (model.points <= 48)).all(dim=1)
    class_logits = torch.full((84, 2), -12.0)
    class_logits[inside, 1] = 12.0
    return belief.log()[None], class_logits[None]


def test_the_loss_falls_as_predictions_approach_the_truth(model):
    start_boxes, start_classes, router = (leaf.detach() for leaf in leaves(1))
    goal_boxes, goal_classes = right_answer(model)
    config = LossConfig(assign_top_k=100)
    terms = []
    for share in (0.0, 0.5, 1.0):
        there = predictions_of(
            torch.lerp(start_boxes, goal_boxes, share), torch.lerp(start_classes, goal_classes, share), router
        )
        terms.append(detection_loss(model, there, object_in_each(1), config))
    for name in ("total", "box", "classes"):
        values = [{"total": each.total, **each.parts}[name].item() for each in terms]
        assert values[0] > values[1] > values[2], name
    assert terms[2].parts["box"].item() == pytest.approx(0, abs=1e-3)
    assert terms[2].parts["classes"].item() == pytest.approx(0, abs=1e-2)


def test_total_is_the_weighted_sum_times_the_batch_size(model):
    config = LossConfig(box=2.0, classes=3.0, dfl=5.0, balance=7.0)
    terms = detection_loss(model, predictions_of(*leaves(3)), object_in_each(3), config)
    expected = 3 * (
        2 * terms.parts["box"] + 3 * terms.parts["classes"] + 5 * terms.parts["dfl"] + terms.parts["routing"]
    )
    assert terms.total.item() == pytest.approx(expected.item(), rel=1e-5)
    assert all(term.item() > 0 for term in terms.parts.values())
    assert terms.weight.item() >= 1


def test_two_copies_of_an_image_cost_twice_as_much_as_one(model):
    one = [leaf.detach() for leaf in leaves(1)]
    one[0] = right_answer(model)[0]  # overlaps add up to more than 1, where their sum is no longer clamped
    two = [torch.cat([leaf, leaf]) for leaf in one]
    losses = [
        detection_loss(model, predictions_of(*logits), object_in_each(n), LossConfig())
        for n, logits in ((1, one), (2, two))
    ]
    assert losses[1].total.item() == pytest.approx(2 * losses[0].total.item(), rel=1e-4)


def test_a_batch_without_objects_has_finite_loss_and_gradients(model):
    logits = leaves(2)
    terms = detection_loss(model, predictions_of(*logits), NO_OBJECTS, LossConfig())
    terms.total.backward()
    assert terms.total.isfinite()
    assert (terms.parts["box"].item(), terms.parts["dfl"].item()) == (0, 0)
    assert terms.parts["classes"].item() > 0
    assert logits[0].grad.abs().max() == 0  # the graph is whole, and no box is pulled anywhere
    assert (logits[1].grad > 0).all()  # every score is pulled down
    assert logits[2].grad.isfinite().all()


def test_an_image_without_objects_beside_one_with_an_object_is_background(model):
    logits = leaves(2)
    truth = tuple(part[:1] for part in object_in_each(1))
    detection_loss(model, predictions_of(*logits), truth, LossConfig()).total.backward()
    assert logits[0].grad[0].abs().max() > 0
    assert logits[0].grad[1].abs().max() == 0
    assert (logits[1].grad[1] > 0).all()


@pytest.mark.parametrize("name", ["box", "classes", "dfl"])
def test_a_weight_of_zero_turns_its_term_off(model, name):
    config = LossConfig()
    whole = detection_loss(model, predictions_of(*leaves(2)), object_in_each(2), config)
    without = detection_loss(
        model, predictions_of(*leaves(2)), object_in_each(2), replace(config, **{name: 0.0})
    )
    difference = 2 * getattr(config, name) * whole.parts[name]
    assert (whole.total - without.total).item() == pytest.approx(difference.item(), rel=1e-4)


@pytest.mark.parametrize("name", ["balance", "load", "z", "diversity"])
def test_a_term_of_the_router_is_part_of_the_total_and_off_at_zero(model, name):
    off = LossConfig(balance=0.0)
    whole = detection_loss(
        model, predictions_of(*leaves(2)), object_in_each(2), replace(off, **{name: 100.0})
    )
    without = detection_loss(model, predictions_of(*leaves(2)), object_in_each(2), off)
    assert without.parts["routing"].item() == 0
    assert whole.parts["routing"].item() > 1
    assert (whole.total - without.total).item() == pytest.approx(2 * whole.parts["routing"].item(), rel=1e-4)


@pytest.mark.parametrize(
    ("weights", "moved"),
    [
        pytest.param({"box": 1.0}, [True, False, False], id="box pulls boxes"),
        pytest.param({"dfl": 1.0}, [True, False, False], id="dfl pulls boxes"),
        pytest.param({"classes": 1.0}, [False, True, False], id="classes pull scores"),
        pytest.param({"balance": 1.0}, [False, False, True], id="balance pulls the router"),
        pytest.param({"load": 1.0}, [False, False, True], id="load pulls the router"),
        pytest.param({"z": 1.0}, [False, False, True], id="z pulls the router"),
        pytest.param({"diversity": 1.0}, [False, False, True], id="diversity pulls the router"),
    ],
)
def test_each_term_pulls_at_its_own_predictions(model, weights, moved):
    off = {"box": 0.0, "classes": 0.0, "dfl": 0.0, "balance": 0.0}
    logits = leaves(2)
    config = LossConfig(**{**off, **weights})
    detection_loss(model, predictions_of(*logits), object_in_each(2), config).total.backward()
    pulled = [leaf.grad is not None and bool((leaf.grad.abs() > 1e-6).any()) for leaf in logits]
    assert pulled == moved


@pytest.mark.parametrize("dfl", [0.0, 1.5])
def test_boxes_are_found_with_and_without_dfl(model, dfl):
    """Without it the 16 bins stay, and their mean, which is decoded, learns from the overlap alone."""
    box_logits = torch.zeros(1, 84, 4, 16, requires_grad=True)  # every side 7.5 strides away
    _, class_logits = right_answer(model)
    predictions = Predictions(box_logits, class_logits, {})

    def overlap():
        boxes, scores = model.decode(predictions)
        targets = assign(boxes.detach(), scores, model.points, object_in_each(1), LossConfig())
        return complete_iou(boxes[targets.foreground], torch.tensor([BOX])).mean().item()

    assert overlap() < 0.1
    for step in range(50):
        terms = detection_loss(model, predictions, object_in_each(1), LossConfig(dfl=dfl))
        (gradient,) = torch.autograd.grad(terms.total, box_logits)
        with torch.no_grad():
            box_logits -= 0.15 * (1 - step / 50) * gradient.sign()
    assert (terms.parts["dfl"] > 0) == (dfl > 0)
    assert overlap() > 0.9


def test_without_a_mixture_nothing_is_asked_of_routers(model):
    box_logits, class_logits, _ = leaves(1)
    terms = detection_loss(model, Predictions(box_logits, class_logits, {}), object_in_each(1), LossConfig())
    assert terms.parts["routing"].item() == 0


def test_five_steps_on_one_picture_lower_its_loss_and_reach_every_router():
    torch.manual_seed(0)
    model = Detector(model_config("esmoe-n", ("a", "b"), (64, 64))).train()
    image = torch.full((1, 64, 64, 3), 60, dtype=torch.uint8)
    image[:, 16:48, 16:48] = 200
    images = torch.cat([image, image.flip(3) // 2])
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(5):
        terms = detection_loss(model, model(images), object_in_each(2), LossConfig())
        optimizer.zero_grad()
        terms.total.backward()
        optimizer.step()
        losses.append(terms.total.item())
    assert losses[-1] < 0.9 * losses[0]
    assert all(layer.router.score.weight.grad.abs().max() > 0 for layer in model.mixture_layers().values())


REGION = torch.tensor([[32.0, 32.0, 64.0, 64.0]])  # the lower right quarter
FIRST = torch.zeros(1, dtype=torch.int64)


def in_region(model):
    """(A,) the anchors whose centres lie in REGION."""
    return ((model.points >= 32) & (model.points < 64)).all(dim=1)


def test_anchors_in_an_ignored_region_are_asked_for_nothing(model):
    logits = leaves(2)
    config = LossConfig()
    detection_loss(model, predictions_of(*logits), NO_OBJECTS, config, (REGION, FIRST)).total.backward()
    covered = in_region(model)
    assert covered.sum() == 16 + 4 + 1  # of the cells of 8, 16 and 32 pixels
    assert (logits[1].grad[0, covered] == 0).all()
    assert (logits[1].grad[0, ~covered] > 0).all()
    assert (logits[1].grad[1] > 0).all()  # the other image has no region


def test_anchors_that_answer_for_an_object_in_a_region_are_asked_as_elsewhere(model):
    free, ignoring = leaves(1), leaves(1)
    inside = torch.tensor([[36.0, 36.0, 60.0, 60.0]])
    truth = (inside, torch.ones(1, dtype=torch.int64), FIRST)
    detection_loss(model, predictions_of(*free), truth, LossConfig()).total.backward()
    terms = detection_loss(model, predictions_of(*ignoring), truth, LossConfig(), (REGION, FIRST))
    terms.total.backward()
    assert torch.equal(ignoring[0].grad, free[0].grad)  # boxes are pulled to the object as ever
    unmasked = (ignoring[1].grad == free[1].grad).all(dim=-1)[0]  # (A,)
    answering = in_region(model) & unmasked
    assert 1 <= answering.sum() <= LossConfig().assign_top_k
    assert (ignoring[1].grad[0, in_region(model) & ~unmasked] == 0).all()
    assert unmasked[~in_region(model)].all()


@pytest.mark.parametrize("regions", [None, (torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))])
def test_without_regions_the_loss_is_bit_for_bit_what_it_was(model, regions):
    one, other = leaves(2), leaves(2)
    whole = detection_loss(model, predictions_of(*one), object_in_each(2), LossConfig())
    same = detection_loss(model, predictions_of(*other), object_in_each(2), LossConfig(), regions)
    whole.total.backward()
    same.total.backward()
    assert torch.equal(whole.total, same.total)
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(one, other, strict=True))
