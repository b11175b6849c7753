"""Compute losses with which images that run few experts learn from the network's answer with all experts.

The answer with all experts is the teacher's, and the answer with few experts is the student's. Each function
returns a sum over the images that have a teacher's answer. The sum is 0 if both answers are equal. Only the
student's answer gets a gradient. The terms have the same gains as the losses of the labels. So at weight 1,
the teacher counts as much as the labels.
"""

import torch
from torch import Tensor
from torch.nn import functional

from training.config import LossConfig
from training.losses.terms import LossTerms, Total, alone
from training.models.classifier import ClassPredictions
from training.models.detector import Predictions

# T taught images · A anchors · C classes · R bins of a side's distribution


def detector_distillation(
    student: Predictions, teacher: Predictions, config: LossConfig, *, sides: bool = True
) -> Tensor:
    """Return the weighted sum of the distances between the class scores, and between the box sides.

    Each anchor is weighted by the teacher's highest class score, because nearly all anchors are background,
    from which there is nothing to learn. The scores of a trained teacher estimate the target scores of the
    labels, so both have about the same sum. with_distillation divides by the sum of the target scores, as it
    is done for `box` and `dfl`. So an anchor counts as much as a matched anchor of the same score. If the
    divisor were the sum of the teacher's scores, an untrained teacher, whose scores are near 0, would count
    as much as a trained one.

    Masks, keypoints and angles are learned from the labels alone. Mask coefficients have a meaning only with
    the prototypes of the same answer, and keypoints only at an anchor with an object.

    Args:
        student: answers for T images; the routings are not read.
        teacher: answers for the same images.
        sides: whether to compare the distributions of box sides. They are not comparable in oriented boxes,
            whose sides are measured along the axes of a predicted angle.
    """
    wanted = teacher.class_logits.float()
    weights = wanted.sigmoid().amax(dim=-1)  # (T, A)
    loss = config.classes * _between_scores(student.class_logits.float(), wanted)
    if sides and config.dfl:
        between = _between_distributions(student.box_logits, teacher.box_logits)  # (T, A, 4)
        loss = loss + config.dfl * between.mean(dim=-1)
    return (loss * weights).sum()


def class_distillation(student: ClassPredictions, teacher: ClassPredictions, config: LossConfig) -> Tensor:
    """Return the sum over images of KL(teacher's class probabilities ‖ student's), in nats, with its gain."""
    return config.classes * _between_distributions(student.class_logits, teacher.class_logits).sum()


def with_distillation(
    terms: LossTerms, own: Tensor, images: int, config: LossConfig, total: Total = alone
) -> LossTerms:
    """Return the loss of a batch with the further term `distill`.

    The term is divided by the divisor of the other terms, which is that of the whole batch: an image without
    a teacher adds 0.

    Args:
        terms: the loss of the labels.
        own: the sum over the taught images of this process.
        images: the number of images of all processes.
        total: as in detection_loss; all processes must call this function, even without a taught image.
    """
    term = total(own) / terms.weight
    parts = {**terms.parts, "distill": term.detach()}
    return LossTerms(terms.total + config.distill * term * images, parts, terms.weight)


def _between_scores(logits: Tensor, wanted: Tensor) -> Tensor:
    """Return the binary cross entropy with the scores of `wanted`, less its smallest value, over all classes.

    Args:
        logits: (T, A, C).
        wanted: logits (T, A, C) of the teacher.
    """
    scores = wanted.sigmoid()
    both = torch.stack([logits, wanted])
    loss, smallest = functional.binary_cross_entropy_with_logits(
        both, scores.expand_as(both), reduction="none"
    ).sum(dim=-1)
    return loss - smallest


def _between_distributions(logits: Tensor, wanted: Tensor) -> Tensor:
    """Return KL(softmax of `wanted` ‖ softmax of `logits`) over the last axis, in nats."""
    logits, wanted = (each.float().log_softmax(dim=-1) for each in (logits, wanted))
    return functional.kl_div(logits, wanted, reduction="none", log_target=True).sum(dim=-1)
