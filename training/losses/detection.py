"""The loss of a detector for one batch, and functions that the losses of all networks with anchors share."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from training.config import LossConfig
from training.losses.assigner import Targets, assign
from training.losses.box import distribution_focal_loss, side_distances
from training.losses.routing import routing_loss
from training.losses.terms import LossTerms, Total, alone
from training.models.detector import Detector, Predictions
from training.ops.boxes import complete_iou

# B batch · A anchors · M objects of the batch · F matched anchors of this process's images


class Matches(NamedTuple):
    """The anchors that are assigned to an object; each anchor has one entry in every field."""

    image_ids: Tensor  # (F,) int64
    anchor_ids: Tensor  # (F,) int64
    object_ids: Tensor  # (F,) int64, row in the batch's objects
    weights: Tensor  # (F,) 0..1, the target score of the anchor


# A function that returns terms of the loss by name. Each term is a sum over the matched anchors, with their
# weights. LossConfig has a weight of the same name for each term.
Sums = Callable[[Matches], Mapping[str, Tensor]]


def detection_loss(
    model: Detector,
    predictions: Predictions,
    truth: tuple[Tensor, Tensor, Tensor],
    config: LossConfig,
    ignored: tuple[Tensor, Tensor] | None = None,
    total: Total = alone,
) -> LossTerms:
    """Return the weighted sum of CIoU, BCE and DFL losses over task-aligned anchors, and the routing losses.

    The box, class and DFL terms are divided by the sum of the batch's target scores, or by 1 if this sum is
    smaller. The divisor is the result's `weight`. The weighted sum, including the routing losses, is
    multiplied by the batch size, because the published learning rates are for such a loss.

    Args:
        truth: boxes (M, 4) in pixels of the model input, class ids (M,) and image ids (M,) of the objects.
        ignored: regions (R, 4) in pixels of the model input, and image ids (R,). An anchor inside a region
            has no class loss unless it is assigned to an object.
        total: a function that sums a tensor over the processes that share the batch. With this function, each
            process gets the loss of the whole batch, but only its own part of the gradient. The caller must
            sum the gradients over the processes.
    """
    return upright_loss(model, predictions, truth, config, ignored=ignored, total=total)


def upright_loss(
    model: Detector,
    predictions: Predictions,
    truth: tuple[Tensor, Tensor, Tensor],
    config: LossConfig,
    *,
    terms: tuple[str, ...] = (),
    further: Sums = lambda matches: {},
    ignored: tuple[Tensor, Tensor] | None = None,
    total: Total = alone,
) -> LossTerms:
    """Return the loss of a network that predicts upright boxes and classes, and possibly more, such as masks.

    The arguments that detection_loss has too mean the same here.

    Args:
        terms: names of the loss terms for what the network predicts besides boxes and classes.
        further: a function that returns these terms; a term that it leaves out is 0.
    """
    boxes, scores = model.decode_rows(model.select(predictions, None))
    targets = assign(boxes.detach(), scores.detach(), model.points, truth, config)

    def sums(matches: Matches) -> dict[str, Tensor]:
        image_ids, anchor_ids, object_ids, weights = matches
        matched = truth[0][object_ids]  # (F, 4)
        overlap = complete_iou(boxes[image_ids, anchor_ids], matched)
        found = {"box": ((1 - overlap) * weights).sum()}
        if config.dfl:
            distances = side_distances(
                model.points[anchor_ids], model.strides[anchor_ids], matched, model.config.reg_max
            )
            loss = distribution_focal_loss(predictions.box_logits[image_ids, anchor_ids], distances)
            found["dfl"] = (loss * weights).sum()
        return {**found, **further(matches)}

    terms = ("box", "dfl", *terms)
    return assigned_loss(
        model, predictions, targets, config, terms=terms, sums=sums, ignored=ignored, total=total
    )


def assigned_loss(
    model: Detector,
    predictions: Predictions,
    targets: Targets,
    config: LossConfig,
    *,
    terms: tuple[str, ...],
    sums: Sums,
    ignored: tuple[Tensor, Tensor] | None,
    total: Total,
) -> LossTerms:
    """Combine the class loss of all anchors, the terms of the matched anchors, and the routing losses.

    The losses are combined as in detection_loss, which also explains `ignored` and `total`. `sums` returns
    the terms of the matched anchors; a term that it leaves out is 0.
    """
    counts = torch.stack([targets.class_scores.sum(), model.points.new_tensor(len(targets.foreground))])
    weight_sum, images = total(counts).unbind()
    weight_sum = weight_sum.clamp(min=1)

    # Every process must call `total` equally often: no call below may depend on this process's images.
    counted = _counted(targets.foreground, model.points, ignored)
    matches = _matches(targets)
    found = dict(sums(matches)) if len(matches.weights) else {}
    found["classes"] = functional.binary_cross_entropy_with_logits(
        predictions.class_logits.float(), targets.class_scores, weight=counted, reduction="sum"
    )
    names = (terms[0], "classes", *terms[1:])
    nothing = _nothing(predictions)
    local = torch.stack([found.get(name, nothing) for name in names])
    parts = dict(zip(names, (total(local) / weight_sum).unbind(), strict=True))
    routing = routing_loss(
        predictions.routings,
        config,
        parts["classes"],
        lambda values: total(values.sum(dim=0)) / images,
        predictions.path,
    )
    weighted = routing.new_zeros(())
    for name, term in parts.items():
        weighted = weighted + getattr(config, name) * term
    shown = {name: term.detach() for name, term in {**parts, "routing": routing}.items()}
    return LossTerms((weighted + routing) * images, shown, weight_sum.detach())


def _matches(targets: Targets) -> Matches:
    image_ids, anchor_ids = targets.foreground.nonzero(as_tuple=True)
    weights = targets.class_scores[image_ids, anchor_ids].sum(dim=-1)
    return Matches(image_ids, anchor_ids, targets.object_ids[image_ids, anchor_ids], weights)


def _nothing(predictions: Predictions) -> Tensor:
    """Return a 0 for terms without a matched anchor; it depends on every output, so all get a gradient."""
    outputs = (predictions.box_logits, predictions.extras, predictions.prototypes)
    return torch.stack([each.float().mean() * 0 for each in outputs if each is not None]).sum()


def _counted(foreground: Tensor, points: Tensor, ignored: tuple[Tensor, Tensor] | None) -> Tensor | None:
    """Return factors for the class loss, (B, A, 1); return None if there are no ignored regions.

    The factor is 0 for an anchor in an ignored region that is assigned to no object, and 1 for all others.
    """
    if ignored is None or len(ignored[0]) == 0:
        return None
    regions_xyxy, image_ids = ignored
    low, high = regions_xyxy[:, None, :2], regions_xyxy[:, None, 2:]  # (R, 1, 2)
    inside = ((points >= low) & (points < high)).all(dim=-1)  # (R, A)
    covered = torch.zeros(foreground.shape, device=points.device)  # (B, A)
    covered.index_add_(0, image_ids, inside.to(covered.dtype))
    return (foreground | (covered == 0)).to(covered.dtype).unsqueeze(-1)
