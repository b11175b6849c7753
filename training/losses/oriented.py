"""The loss of a network for oriented boxes, for one batch."""

import torch
from torch import Tensor

from training.config import STRIDES, LossConfig
from training.losses.assigner import Geometry, assign
from training.losses.box import distribution_focal_loss, side_distances
from training.losses.detection import Matches, assigned_loss
from training.losses.terms import LossTerms, Total, alone
from training.models.detector import Predictions
from training.models.oriented_detector import OrientedDetector
from training.ops.rotated import in_frame, points_inside, prob_iou, to_oriented, unrotated

# M objects of the batch · A anchors · F matched anchors


def anchors_inside(truth_boxes: Tensor, points: Tensor) -> Tensor:
    """Return whether each anchor is inside each oriented object, (M, A) bool.

    Sides that are shorter than the finest cell are lengthened to one cell. Otherwise there might be no anchor
    inside the object.
    """
    sides = truth_boxes[:, 2:4].clamp(min=STRIDES[0])
    return points_inside(torch.cat([truth_boxes[:, :2], sides, truth_boxes[:, 4:]], dim=1), points)


ORIENTED = Geometry(anchors_inside, prob_iou)


def oriented_loss(
    model: OrientedDetector,
    predictions: Predictions,
    truth: tuple[Tensor, Tensor, Tensor],
    config: LossConfig,
    ignored: tuple[Tensor, Tensor] | None = None,
    total: Total = alone,
) -> LossTerms:
    """Return the weighted sum of ProbIoU, BCE and DFL losses over task-aligned anchors, and routing losses.

    The term `box` is 1 - ProbIoU, which depends on the angle too, so the network learns the angle from this
    term. Everything else is as in detection_loss.

    Args:
        truth: oriented boxes (M, 5) as in ops.rotated, class ids (M,) and image ids (M,) of the objects.
        ignored: upright regions, as in detection_loss.
        total: as in detection_loss.
    """
    upright, scores, angles = model.decode(predictions)
    boxes = to_oriented(upright, angles)
    targets = assign(boxes.detach(), scores.detach(), model.points, truth, config, ORIENTED)

    def sums(matches: Matches) -> dict[str, Tensor]:
        image_ids, anchor_ids, object_ids, weights = matches
        matched, found = truth[0][object_ids], boxes[image_ids, anchor_ids]  # (F, 5)
        terms = {"box": ((1 - prob_iou(found, matched)) * weights).sum()}
        if config.dfl:
            distances = turned_distances(
                model.points[anchor_ids],
                model.strides[anchor_ids],
                nearest_turn(matched, found[:, 4].detach()),
                model.config.reg_max,
            )
            loss = distribution_focal_loss(predictions.box_logits[image_ids, anchor_ids], distances)
            terms["dfl"] = (loss * weights).sum()
        return terms

    return assigned_loss(
        model, predictions, targets, config, terms=("box", "dfl"), sums=sums, ignored=ignored, total=total
    )


def nearest_turn(boxes: Tensor, angles: Tensor) -> Tensor:
    """Return the boxes (F, 5); add π to a box's angle where this brings it nearer to its angle in `angles`.

    A box covers the same region if it is turned by π, but its left and right sides change places. So do top
    and bottom. The network must learn the distances to the sides for the angle that it predicts. Otherwise
    the distances would contradict its predicted box.
    """
    opposite = (boxes[:, 4] - angles).cos() < 0
    return torch.cat([boxes[:, :4], (boxes[:, 4] + opposite * torch.pi)[:, None]], dim=1)


def turned_distances(points: Tensor, strides: Tensor, boxes: Tensor, reg_max: int) -> Tensor:
    """Return the distances (F, 4) from points (F, 2) to the sides of oriented boxes (F, 5), in strides.

    The distances are measured along the boxes' own axes. Their order is that of the sides left, top, right,
    bottom before the rotation. They are clipped as in side_distances.
    """
    centered = torch.cat([torch.zeros_like(boxes[:, :2]), boxes[:, 2:]], dim=1)
    return side_distances(in_frame(points, boxes), strides, unrotated(centered), reg_max)
