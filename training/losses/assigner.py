"""Assign anchors to objects, that is, decide which anchors should predict which object.

Source: task-aligned assignment, Feng et al. 2021, TOOD, arXiv:2108.07755, section 3.2.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from training.config import STRIDES, LossConfig
from training.ops.boxes import complete_iou

# B batch · A anchors · C classes · M objects of the whole batch · P (object, anchor) pairs

EPS = 1e-9


class Targets(NamedTuple):
    """The prediction that each anchor should make."""

    foreground: Tensor  # (B, A) bool: an object is assigned to the anchor
    object_ids: Tensor  # (B, A) int64, row in the batch's objects; undefined where not foreground
    class_scores: Tensor  # (B, A, C) 0..1; the scaled alignment for the assigned class, 0 for others


class Geometry(NamedTuple):
    """Two functions that assignment needs for a kind of box; a box of this kind has D numbers."""

    inside: Callable[[Tensor, Tensor], Tensor]  # boxes (M, D), points (A, 2) to (M, A) bool
    overlap: Callable[[Tensor, Tensor], Tensor]  # pairs of boxes, (P, D) and (P, D), to (P,), at most 1


def anchors_inside(truth_boxes: Tensor, points: Tensor) -> Tensor:
    """Return whether each anchor is inside each object, (M, A) bool.

    An object that is smaller than the finest cell is enlarged to one cell. Otherwise there might be no anchor
    inside it.
    """
    center = (truth_boxes[:, :2] + truth_boxes[:, 2:]) / 2
    half = ((truth_boxes[:, 2:] - truth_boxes[:, :2]) / 2).clamp(min=STRIDES[0] / 2)
    x_inside = (points[None, :, 0] - center[:, None, 0]).abs() <= half[:, None, 0]
    y_inside = (points[None, :, 1] - center[:, None, 1]).abs() <= half[:, None, 1]
    return x_inside & y_inside


UPRIGHT = Geometry(anchors_inside, complete_iou)  # for upright boxes, xyxy


@torch.no_grad()
def assign(
    boxes: Tensor,
    class_scores: Tensor,
    points: Tensor,
    truth: tuple[Tensor, Tensor, Tensor],
    config: LossConfig,
    geometry: Geometry = UPRIGHT,
) -> Targets:
    """Return the targets of all anchors: each object gets the anchors that predict it best.

    The alignment of an anchor with an object is score^alpha × IoU^beta. Here, score is the anchor's score for
    the object's class, and IoU is the overlap of the anchor's predicted box with the object.

    An anchor is assigned to at most one object. To save time, overlaps are computed only for those pairs of
    object and anchor in which the anchor is inside the object. These are a few per cent of all pairs.

    Args:
        boxes: predicted boxes (B, A, D), in pixels of the model input; upright boxes are xyxy, with D = 4.
        class_scores: predicted scores (B, A, C), 0..1.
        points: cell centres (A, 2), in pixels of the model input.
        truth: boxes (M, D), class ids (M,) and image ids (M,) of the batch's objects.
        config: holds assign_top_k (the largest number of anchors per object) and the exponents of the
            alignment.
        geometry: tells which points are inside a box, and how much two boxes overlap.
    """
    truth_boxes, truth_classes, image_ids = truth
    batch, anchors, classes = class_scores.shape
    device = boxes.device
    target_scores = torch.zeros(batch, anchors, classes, device=device)
    foreground = torch.zeros(batch, anchors, dtype=torch.bool, device=device)
    object_of_anchor = torch.zeros(batch, anchors, dtype=torch.int64, device=device)
    if len(truth_boxes) == 0:
        return Targets(foreground, object_of_anchor, target_scores)

    object_ids, anchor_ids = geometry.inside(truth_boxes, points).nonzero(as_tuple=True)  # (P,)
    images = image_ids[object_ids]
    overlap = geometry.overlap(truth_boxes[object_ids], boxes[images, anchor_ids]).clamp(min=0)
    score = class_scores[images, anchor_ids, truth_classes[object_ids]]
    alignment = score.pow(config.assign_alpha) * overlap.pow(config.assign_beta)  # (P,)

    shape = len(truth_boxes), anchors
    best = _best_per_object(object_ids, anchor_ids, alignment, shape, config.assign_top_k)
    # An anchor that several objects selected is assigned to the object that it overlaps most.
    best = best[_first_of_each((images * anchors + anchor_ids)[best], overlap[best])]
    object_ids, anchor_ids, images = object_ids[best], anchor_ids[best], images[best]
    overlap, alignment = overlap[best], alignment[best]

    # Scale alignments so that the target score of each object's best anchor is the object's best overlap.
    top_alignment = torch.zeros(len(truth_boxes), device=device)
    top_alignment.scatter_reduce_(0, object_ids, alignment, "amax")
    top_overlap = torch.zeros(len(truth_boxes), device=device)
    top_overlap.scatter_reduce_(0, object_ids, overlap, "amax")
    wanted = alignment * top_overlap[object_ids] / (top_alignment[object_ids] + EPS)

    foreground[images, anchor_ids] = True
    object_of_anchor[images, anchor_ids] = object_ids
    target_scores[images, anchor_ids, truth_classes[object_ids]] = wanted
    return Targets(foreground, object_of_anchor, target_scores)


def _best_per_object(
    object_ids: Tensor, anchor_ids: Tensor, alignment: Tensor, shape: tuple[int, int], top_k: int
) -> Tensor:
    """Return the indices of those pairs of object and anchor that are the object's top_k by alignment."""
    table = torch.full(shape, -1.0, device=alignment.device)
    table[object_ids, anchor_ids] = alignment
    chosen_alignment, chosen = table.topk(min(top_k, shape[1]), dim=1)
    keep = torch.zeros(shape, dtype=torch.bool, device=alignment.device)
    keep.scatter_(1, chosen, chosen_alignment >= 0)  # -1: no pair; fewer than top_k anchors are inside
    return keep[object_ids, anchor_ids].nonzero().flatten()


def _first_of_each(keys: Tensor, values: Tensor) -> Tensor:
    """Return, for each distinct key, the index of the highest value among the entries with this key."""
    order = torch.argsort(values, descending=True, stable=True)
    order = order[torch.argsort(keys[order], stable=True)]
    _, runs = torch.unique_consecutive(keys[order], return_counts=True)
    return order[runs.cumsum(dim=0) - runs]
