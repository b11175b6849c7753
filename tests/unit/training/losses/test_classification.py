"""The loss of a classifier, on logits that can be summed by hand."""

import math
from dataclasses import replace

import pytest
import torch

from training.config import LossConfig
from training.errors import ConfigError
from training.losses.classification import classification_loss
from training.models.classifier import ClassPredictions
from training.models.mixture.routing import RoutingControls, choose_experts

ONE = LossConfig(classes=1.0, balance=0.0)
CLASS_IDS = torch.tensor([0, 1])


def predicted(logits, routings=None):
    return ClassPredictions(torch.tensor(logits, requires_grad=True), routings or {})


def test_even_scores_cost_the_logarithm_of_the_classes_for_each_image():
    terms = classification_loss(predicted([[0.0] * 4, [3.0] * 4]), CLASS_IDS, ONE)
    assert terms.parts["classes"].item() == pytest.approx(math.log(4))
    assert terms.parts["routing"].item() == 0
    assert terms.total.item() == pytest.approx(2 * math.log(4))
    assert terms.weight.item() == 2


def test_smoothing_asks_for_some_doubt():
    # Two classes, 0.2 shared by both: 0.9 of the right one and 0.1 of the other. p is 0.8 and 0.2.
    logits = [[math.log(4), 0.0], [0.0, math.log(4)]]
    smoothed = classification_loss(predicted(logits), CLASS_IDS, replace(ONE, label_smoothing=0.2))
    by_hand = -0.9 * math.log(0.8) - 0.1 * math.log(0.2)
    assert smoothed.parts["classes"].item() == pytest.approx(by_hand)
    plain = classification_loss(predicted(logits), CLASS_IDS, ONE)
    assert plain.parts["classes"].item() == pytest.approx(-math.log(0.8))


def test_the_total_is_the_weighted_sum_times_the_images_and_routers_are_part_of_it():
    router = torch.tensor([[2.0, 0.0, 0.0], [2.0, 0.0, 0.0]], requires_grad=True)
    found = predicted([[1.0, 0.0], [0.0, 0.0]], {"p4": choose_experts(router, RoutingControls(2))})
    config = LossConfig(classes=3.0, balance=5.0)
    terms = classification_loss(found, CLASS_IDS, config)
    by_hand = 2 * (3 * terms.parts["classes"] + terms.parts["routing"])
    assert terms.total.item() == pytest.approx(by_hand.item())
    assert terms.parts["routing"].item() > 0
    terms.total.backward()
    assert router.grad.abs().max() > 0
    assert found.class_logits.grad[0, 0] < 0 < found.class_logits.grad[0, 1]


def test_shares_of_processes_add_up_to_the_loss_of_the_whole_batch():
    logits = [[1.0, 0.0], [0.0, 2.0], [0.5, 0.5], [3.0, 0.0]]
    class_ids = torch.tensor([0, 0, 1, 1])
    whole = classification_loss(predicted(logits), class_ids, ONE)
    sums = [
        torch.tensor([len(ids), float(torch.nn.functional.cross_entropy(part, ids, reduction="sum"))])
        for part, ids in zip(torch.tensor(logits).split(2), class_ids.split(2), strict=True)
    ]
    other = iter([sums[1][0], sums[1][1]])  # what the second process has of each total, in their order
    shared = classification_loss(predicted(logits[:2]), class_ids[:2], ONE, lambda own: own + next(other))
    assert shared.total.item() == pytest.approx(whole.total.item())


@pytest.mark.parametrize("smoothing", [-0.01, 1.0])
def test_smoothing_that_cannot_be_is_refused(smoothing):
    with pytest.raises(ConfigError, match="label_smoothing"):
        replace(ONE, label_smoothing=smoothing)
    replace(ONE, label_smoothing=0.99)
