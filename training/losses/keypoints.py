"""The loss of a pose network for one batch."""

import torch
from torch import Tensor
from torch.nn import functional

from training.config import LossConfig
from training.losses.detection import Matches, upright_loss
from training.losses.terms import LossTerms, Total, alone
from training.models.detector import Predictions
from training.models.heads.pose import decode_keypoints
from training.models.pose_estimator import PoseEstimator
from training.ops.boxes import area

NEAR = 1e-6  # squared share of an object's side below which a distance counts as none

# M objects of the batch · F matched anchors · P keypoints


def pose_loss(
    model: PoseEstimator,
    predictions: Predictions,
    truth: tuple[Tensor, Tensor, Tensor, Tensor],
    config: LossConfig,
    ignored: tuple[Tensor, Tensor] | None = None,
    total: Total = alone,
) -> LossTerms:
    """Return the loss of a detector, with the two further weighted terms `keypoints` and `visibility`.

    In both terms, each anchor is weighted by its target score, as in the other terms. An object without
    labelled keypoints adds nothing to these terms, because data sets leave keypoints out where objects are
    small or crowded.

    Args:
        truth: boxes (M, 4) in pixels of the model input, class ids (M,), image ids (M,), and keypoints
            (M, P, 3) of the objects. A keypoint is x and y in pixels, and a number that means 0: not
            labelled, 1: hidden, 2: visible.
        ignored: as in detection_loss.
        total: as in detection_loss.
    """
    boxes, keypoints = truth[0], truth[3]

    def further(matches: Matches) -> dict[str, Tensor]:
        assert predictions.extras is not None
        anchor_ids = matches.anchor_ids
        raw = predictions.extras[matches.image_ids, anchor_ids]  # (F, 3P)
        found = decode_keypoints(raw[None], model.points[anchor_ids], model.strides[anchor_ids])[0]
        wanted, areas = keypoints[matches.object_ids], area(boxes[matches.object_ids])
        location = location_loss(found[..., :2], wanted, areas, model.sigmas)
        visibility = visibility_loss(found[..., 2], wanted)
        losses = {"keypoints": location, "visibility": visibility}
        return {name: (loss * matches.weights).sum() for name, loss in losses.items()}

    return upright_loss(
        model,
        predictions,
        truth[:3],
        config,
        terms=("keypoints", "visibility"),
        further=further,
        ignored=ignored,
        total=total,
    )


def location_loss(found_xy: Tensor, wanted: Tensor, areas: Tensor, sigmas: Tensor) -> Tensor:
    """Return the mean loss of each object's labelled points, (F,); 0 if no point is labelled.

    The loss of a point at distance d from its label is 1 - similarity + d / sqrt(area), where similarity is
    exp(-d² / (2 · area · (2 sigma)²)). The similarity alone has hardly any gradient far from the label. But
    this is where the points are when a network is trained from scratch.

    Args:
        found_xy: predicted points (F, P, 2), in pixels.
        wanted: labelled points (F, P, 3): x and y in pixels, and 0 for points that are not labelled.
        areas: areas of the objects' boxes (F,), in square pixels. Areas of outlines are not used, because
            outlines are not always labelled.
        sigmas: spread of correct labels, (P,).

    Source: the similarity is COCO's, and Maji et al. 2022, YOLO-Pose, arXiv:2204.06806, use it as a loss. The
        sum of such a loss and a distance is from Liu et al. 2023, GroupPose, arXiv:2308.07313.
    """
    labelled = wanted[..., 2] > 0
    areas = areas[:, None].clamp(min=1)
    distance2 = (found_xy - wanted[..., :2]).square().sum(dim=-1)  # (F, P)
    similarity = torch.exp(-distance2 / (2 * areas * (2 * sigmas).square()))
    # A square root has no finite gradient at 0.
    far = (distance2 / areas + NEAR).sqrt() - NEAR**0.5
    return ((1 - similarity + far) * labelled).sum(dim=-1) / labelled.sum(dim=-1).clamp(min=1)


def visibility_loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean binary cross entropy of each object's points, (F,); 0 if no point is labelled.

    The network should call a point visible if the point's place is labelled, even if something hides the
    point. Users of the visibility want to know which of the predicted places they can rely on.

    Args:
        logits: predicted visibility of each point, (F, P).
        wanted: labelled points (F, P, 3), with 0 in the last column for points that are not labelled.
    """
    labelled = wanted[..., 2] > 0
    loss = functional.binary_cross_entropy_with_logits(logits, labelled.float(), reduction="none")
    return loss.mean(dim=-1) * labelled.any(dim=-1)
