"""The loss of a detector for one batch."""

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
    smaller. The divisor is the result's `weight`. The weighted sum is multiplied by the batch size, because
    the published learning rates are for such a loss.

    Args:
        truth: boxes (M, 4) in pixels of the model input, class ids (M,) and image ids (M,) of the objects.
        ignored: regions (R, 4) in pixels of the model input, and image ids (R,). Anchors inside a region
            that are assigned to no object have no class loss.
        total: a function that sums over the processes that share the batch. With it, each process gets the
            loss of the whole batch, but only its own part of the gradient; the caller must sum the gradients
            over the processes.
    """
    boxes, scores = model.decode(predictions)
    targets = assign(boxes.detach(), scores.detach(), model.points, truth, config)
    counts = torch.stack([targets.class_scores.sum(), boxes.new_tensor(len(boxes))])
    weight_sum, images = total(counts).unbind()
    weight_sum = weight_sum.clamp(min=1)

    # Every process must call `total` equally often: no call below may depend on this process's images.
    counted = _counted(targets.foreground, model.points, ignored)
    sums = _local_sums(model, predictions, boxes, targets, (truth[0], counted), config)
    classes, box, dfl = (total(torch.stack(sums)) / weight_sum).unbind()
    routing = routing_loss(
        predictions.routings, config, classes, lambda values: total(values.sum(dim=0)) / images
    )
    weighted = config.box * box + config.classes * classes + config.dfl * dfl + routing
    parts = {"box": box, "classes": classes, "dfl": dfl, "routing": routing}
    shown = {name: term.detach() for name, term in parts.items()}
    return LossTerms(weighted * images, shown, weight_sum.detach())


def _local_sums(
    model: Detector,
    predictions: Predictions,
    boxes: Tensor,
    targets: Targets,
    truth: tuple[Tensor, Tensor | None],
    config: LossConfig,
) -> list[Tensor]:
    """Return the BCE, CIoU and DFL losses of this process's images, each summed over anchors.

    Args:
        truth: boxes of objects (M, 4), and factors on the anchors' BCE, (B, A, 1); None in place of these
            factors means that every factor is 1.
    """
    truth_boxes, counted = truth
    classes = functional.binary_cross_entropy_with_logits(
        predictions.class_logits.float(), targets.class_scores, weight=counted, reduction="sum"
    )
    box = dfl = boxes.sum() * 0  # has a gradient even if no object is in the batch
    image_ids, anchor_ids = targets.foreground.nonzero(as_tuple=True)
    if len(image_ids):
        matched = truth_boxes[targets.object_ids[image_ids, anchor_ids]]  # (F, 4)
        weight = targets.class_scores[image_ids, anchor_ids].sum(dim=-1)  # (F,)
        overlap = complete_iou(boxes[image_ids, anchor_ids], matched)
        box = ((1 - overlap) * weight).sum()
        if config.dfl:
            distances = side_distances(
                model.points[anchor_ids], model.strides[anchor_ids], matched, model.config.reg_max
            )
            loss = distribution_focal_loss(predictions.box_logits[image_ids, anchor_ids], distances)
            dfl = (loss * weight).sum()
    return [classes, box, dfl]


def _counted(foreground: Tensor, points: Tensor, ignored: tuple[Tensor, Tensor] | None) -> Tensor | None:
    """Return factors on the class loss, (B, A, 1): 0 for background anchors in ignored regions, else 1.

    Without ignored regions, return None.
    """
    if ignored is None or len(ignored[0]) == 0:
        return None
    regions_xyxy, image_ids = ignored
    low, high = regions_xyxy[:, None, :2], regions_xyxy[:, None, 2:]  # (R, 1, 2)
    inside = ((points >= low) & (points < high)).all(dim=-1)  # (R, A)
    covered = torch.zeros(foreground.shape, device=points.device)  # (B, A)
    covered.index_add_(0, image_ids, inside.to(covered.dtype))
    return (foreground | (covered == 0)).to(covered.dtype).unsqueeze(-1)
