"""The loss of a segmentation network: what it measures, and that it can be learnt."""

import math
from dataclasses import replace

import pytest
import torch

from training.config import LossConfig
from training.losses.detection import detection_loss
from training.losses.masks import mask_logits, mask_loss, segmentation_loss
from training.models.detector import Detector, Predictions
from training.models.segmenter import Segmenter
from training.models.variants import model_config

CONFIG = replace(model_config("yolov12-n", ("a", "b"), (64, 64)), task="segment")
NONE = torch.zeros(0, dtype=torch.int64)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Segmenter(CONFIG)


def disc():
    """Draw a disc of radius 14 around (30, 34), as a mask of 16 × 16 cells of 4 pixels."""
    centers = torch.arange(16) * 4 + 2
    return (centers[None] - 30) ** 2 + (centers[:, None] - 34) ** 2 < 14**2


def truth_of(masks, image_ids=(0,)):
    objects = len(image_ids)
    boxes = torch.tensor([[16.0, 20, 44, 48]] * objects)
    return boxes, torch.ones(objects, dtype=torch.int64), torch.tensor(image_ids), masks


def leaves(images=1):
    generator = torch.Generator().manual_seed(0)
    shapes = ((images, 84, 4, 16), (images, 84, 2), (images, 84, 32), (images, 32, 16, 16))
    return [torch.randn(*shape, generator=generator).requires_grad_() for shape in shapes]


def predictions_of(boxes, classes, coefficients, prototypes):
    return Predictions(boxes, classes, {}, coefficients, prototypes)


def test_logits_are_sums_of_prototypes():
    coefficients, prototypes = torch.randn(3, 32), torch.randn(32, 5, 4)
    logits = mask_logits(coefficients, prototypes)
    want = sum(coefficients[2, k] * prototypes[k, 4, 1] for k in range(32))
    assert logits.shape == (3, 5, 4)
    assert logits[2, 4, 1].item() == pytest.approx(want.item(), abs=1e-5)


def test_the_loss_is_the_mean_over_the_cells_that_the_box_touches():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 16, 16, generator=generator)
    masks = torch.rand(3, 16, 16, generator=generator) > 0.5
    boxes = torch.tensor([[8.0, 12, 20, 16], [9.9, 3.9, 12.1, 4.1], [-5, 60, 3, 99]])
    # Rows and columns of cells, by hand.
    touched = [(range(3, 4), range(2, 5)), (range(2), range(2, 4)), (range(15, 16), range(1))]
    found = mask_loss(logits, masks, boxes)
    for index, (rows, columns) in enumerate(touched):
        terms = []
        for row in rows:
            for column in columns:
                chance = 1 / (1 + math.exp(-logits[index, row, column].item()))
                terms.append(-math.log(chance if masks[index, row, column] else 1 - chance))
        assert found[index].item() == pytest.approx(sum(terms) / len(terms), rel=1e-5)


def test_right_masks_cost_nothing_and_opposite_ones_much(model):
    boxes, classes, coefficients, prototypes = (leaf.detach() for leaf in leaves())
    coefficients = torch.zeros_like(coefficients)
    coefficients[..., 3] = 1.0
    prototypes[0, 3] = torch.where(disc(), 20.0, -20.0)
    truth = truth_of(disc()[None])
    right = segmentation_loss(
        model, predictions_of(boxes, classes, coefficients, prototypes), truth, LossConfig()
    )
    wrong = segmentation_loss(
        model, predictions_of(boxes, classes, -coefficients, prototypes), truth, LossConfig()
    )
    # The weights of the anchors do not sum to 1, the smallest divisor, where no anchor is right.
    assert right.parts["mask"].item() == pytest.approx(0, abs=1e-6)
    assert wrong.parts["mask"].item() > 0.01
    assert {name: term.item() for name, term in right.parts.items() if name != "mask"} == {
        name: term.item() for name, term in wrong.parts.items() if name != "mask"
    }


def test_the_other_terms_are_those_of_detection(model):
    detector = Detector(replace(CONFIG, task="detect"))
    predictions = predictions_of(*leaves(2))
    truth = truth_of(torch.stack([disc()] * 3), (0, 1, 1))
    config = LossConfig(mask=3.0)
    own = segmentation_loss(model, predictions, truth, config)
    plain = detection_loss(detector, predictions, truth[:3], config)
    assert list(own.parts) == ["box", "classes", "dfl", "mask", "routing"]
    for name, term in plain.parts.items():
        assert own.parts[name].item() == term.item()
    assert own.total.item() == pytest.approx(plain.total.item() + 2 * 3 * own.parts["mask"].item(), rel=1e-6)


def test_each_image_is_compared_with_its_own_masks(model):
    parts = leaves(2)
    both = segmentation_loss(
        model, predictions_of(*parts), truth_of(torch.stack([disc(), ~disc()]), (0, 1)), LossConfig()
    )
    alone = [
        segmentation_loss(
            model, predictions_of(*(part[[image]] for part in parts)), truth_of(mask[None]), LossConfig()
        )
        for image, mask in enumerate([disc(), ~disc()])
    ]
    total = sum(each.parts["mask"] * each.weight for each in alone)
    assert (both.parts["mask"] * both.weight).item() == pytest.approx(total.item(), rel=1e-5)


def test_gradients_reach_every_output_even_without_objects(model):
    for truth in (truth_of(disc()[None]), (torch.zeros(0, 4), NONE, NONE, torch.zeros(0, 16, 16) > 0)):
        parts = leaves()
        segmentation_loss(model, predictions_of(*parts), truth, LossConfig()).total.backward()
        assert all(part.grad is not None and part.grad.isfinite().all() for part in parts)
        assert [bool(part.grad.any()) for part in parts[2:]] == [len(truth[0]) > 0] * 2


def test_a_network_learns_the_mask_of_an_image(model):
    torch.manual_seed(0)
    model = Segmenter(CONFIG).train()
    shape = disc().repeat_interleave(4, dim=0).repeat_interleave(4, dim=1)
    images = torch.where(shape[None, ..., None], torch.tensor([220, 60, 40]), 90).to(torch.uint8)
    truth = truth_of(disc()[None].clone())
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(80):
        terms = segmentation_loss(model, model(images), truth, LossConfig())
        optimizer.zero_grad()
        terms.total.backward()
        optimizer.step()
    with torch.no_grad():
        predictions = model(images)
        boxes, scores, coefficients = model.decode(predictions, limit=1)
        mask = mask_logits(coefficients[0], predictions.prototypes[0])[0] > 0
    assert scores[0, 0].argmax() == 1
    assert boxes[0, 0].numpy() == pytest.approx(truth[0][0].numpy(), abs=4)
    inside = slice(5, 12), slice(4, 11)  # the cells of the box, outside of which masks are cut off
    shared, either = (mask & disc())[inside].sum(), (mask | disc())[inside].sum()
    assert shared / either > 0.9
