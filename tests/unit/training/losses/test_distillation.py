"""The losses of answers that learn from a teacher's, on logits that can be summed by hand."""

import math
from dataclasses import replace

import pytest
import torch

from training.config import LossConfig
from training.losses.distillation import class_distillation, detector_distillation, with_distillation
from training.losses.terms import LossTerms
from training.models.classifier import ClassPredictions
from training.models.detector import Predictions

CLASSES_ALONE = LossConfig(classes=1.0, dfl=0.0)
SIDES_ALONE = LossConfig(classes=0.0, dfl=1.0)


def logit(*probabilities):
    return [math.log(p / (1 - p)) for p in probabilities]


def answer(class_logits, box_logits=None):
    """Return an answer for one image; without box logits, all distributions of sides are even."""
    classes = torch.tensor([class_logits], requires_grad=True)  # (1, A, C)
    boxes = torch.zeros(1, len(class_logits), 4, 2) if box_logits is None else torch.tensor([box_logits])
    return Predictions(boxes.requires_grad_(), classes, {})


def any_answer(seed, images=3):
    generator = torch.Generator().manual_seed(seed)
    boxes, classes = (
        torch.randn(*shape, generator=generator) for shape in ((images, 9, 4, 16), (images, 9, 2))
    )
    return Predictions(boxes.requires_grad_(), classes.requires_grad_(), {})


def test_class_scores_are_drawn_to_the_teacher_s_and_weighted_by_its_highest():
    student, teacher = answer([logit(0.5, 0.5)]), answer([logit(0.8, 0.2)])
    # For both classes, the divergence of (0.8, 0.2) from (0.5, 0.5).
    by_hand = 0.8 * 2 * (math.log(2) + 0.8 * math.log(0.8) + 0.2 * math.log(0.2))
    assert detector_distillation(student, teacher, CLASSES_ALONE).item() == pytest.approx(by_hand)
    assert detector_distillation(
        student, teacher, replace(CLASSES_ALONE, classes=3.0)
    ).item() == pytest.approx(3 * by_hand)


def test_sides_are_drawn_to_the_teacher_s_distributions():
    told = [[0.0, math.log(3)], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]  # one side: 1/4 and 3/4
    student, teacher = answer([logit(0.1)]), answer([logit(0.6)], [told])
    by_hand = 0.6 * (math.log(2) + 0.25 * math.log(0.25) + 0.75 * math.log(0.75)) / 4
    assert detector_distillation(student, teacher, SIDES_ALONE).item() == pytest.approx(by_hand)
    assert detector_distillation(student, teacher, SIDES_ALONE, sides=False).item() == 0
    assert detector_distillation(student, teacher, CLASSES_ALONE).item() == pytest.approx(
        detector_distillation(student, teacher, replace(CLASSES_ALONE, dfl=1.0), sides=False).item()
    )


def test_background_has_no_say():
    background = [logit(1e-6)] * 1000
    student = answer([*[logit(0.1)] * 1000, logit(0.5)])
    teacher = answer([*background, logit(0.9)])
    alone = detector_distillation(answer([logit(0.5)]), answer([logit(0.9)]), CLASSES_ALONE)
    assert detector_distillation(student, teacher, CLASSES_ALONE).item() == pytest.approx(
        alone.item(), rel=1e-3
    )


def test_an_equal_answer_costs_nothing_and_has_no_gradient():
    student, teacher = any_answer(0), any_answer(0)
    loss = detector_distillation(student, teacher, LossConfig())
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert max(each.grad.abs().max().item() for each in student[:2]) < 1e-6
    logits = torch.randn(4, 5)
    same = class_distillation(
        ClassPredictions(logits, {}), ClassPredictions(logits.clone(), {}), LossConfig()
    )
    assert same.item() == pytest.approx(0, abs=1e-6)


def test_a_step_along_the_gradient_brings_the_student_nearer():
    student, teacher = any_answer(0), any_answer(1)
    loss = detector_distillation(student, teacher, LossConfig())
    loss.backward()
    assert loss.item() > 0
    moved = [(each - each.grad).detach() for each in student[:2]]
    assert detector_distillation(Predictions(*moved, {}), teacher, LossConfig()) < 0.99 * loss


def test_classifiers_learn_the_teacher_s_probabilities():
    student = torch.zeros(1, 2, requires_grad=True)
    teacher = torch.tensor([[0.0, math.log(3)]])  # 1/4 and 3/4
    loss = class_distillation(
        ClassPredictions(student, {}), ClassPredictions(teacher, {}), LossConfig(classes=2.0)
    )
    by_hand = 2 * (math.log(2) + 0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert loss.item() == pytest.approx(by_hand)
    loss.backward()
    assert student.grad[0, 0] > 0 > student.grad[0, 1]


def test_half_precision_is_computed_in_full():
    student, teacher = any_answer(0), any_answer(1)
    half = [
        each._replace(**{name: getattr(each, name).bfloat16() for name in each._fields[:2]})
        for each in (student, teacher)
    ]
    want = [
        each._replace(**{name: getattr(each, name).float() for name in each._fields[:2]}) for each in half
    ]
    found = detector_distillation(*half, LossConfig())
    assert found.dtype == torch.float32
    assert found.item() == detector_distillation(*want, LossConfig()).item()


TERMS = LossTerms(torch.tensor(10.0), {"classes": torch.tensor(2.0)}, torch.tensor(4.0))


def test_the_term_is_divided_as_the_others_and_counts_for_all_images():
    both = with_distillation(TERMS, torch.tensor(6.0), 8, LossConfig(distill=0.5))
    assert {name: term.item() for name, term in both.parts.items()} == {"classes": 2, "distill": 6 / 4}
    assert both.total.item() == 10 + 0.5 * 6 / 4 * 8
    assert both.weight.item() == 4


def test_processes_share_the_term_and_one_without_a_taught_image_has_it_too():
    own = torch.tensor(6.0, requires_grad=True)
    config = LossConfig(distill=1.0)
    whole = with_distillation(TERMS, own, 8, config)
    for mine, others in ((own, 0.0), (torch.tensor(0.0), 6.0)):
        shared = with_distillation(TERMS, mine, 8, config, lambda value, add=others: value + add)
        assert shared.total.item() == whole.total.item()
        assert shared.parts["distill"].item() == 1.5
