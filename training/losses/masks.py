"""The loss of a segmentation network for one batch."""

import torch
from torch import Tensor
from torch.nn import functional

from training.config import MASK_STRIDE, LossConfig
from training.losses.detection import Matches, upright_loss
from training.losses.terms import LossTerms, Total, alone
from training.models.detector import Predictions
from training.models.segmenter import Segmenter

# M objects of the batch · F matched anchors · h, w size of a prototype


def segmentation_loss(
    model: Segmenter,
    predictions: Predictions,
    truth: tuple[Tensor, Tensor, Tensor, Tensor],
    config: LossConfig,
    ignored: tuple[Tensor, Tensor] | None = None,
    total: Total = alone,
) -> LossTerms:
    """Return the loss of a detector, with a further weighted term `mask`.

    This term is the mean mask loss of matched anchors. Each anchor is weighted by its target score, as in the
    other terms.

    Args:
        truth: boxes (M, 4) in pixels of the model input, class ids (M,), image ids (M,), and masks
            (M, H / 4, W / 4) bool of the objects.
        ignored: as in detection_loss.
        total: as in detection_loss.
    """
    boxes, masks = truth[0], truth[3]

    def further(matches: Matches) -> dict[str, Tensor]:
        if not config.mask:
            return {}
        assert predictions.extras is not None
        assert predictions.prototypes is not None
        sums = []
        # Image by image, because the logits of all anchors of a batch would take much memory.
        for image_id in matches.image_ids.unique().tolist():
            rows = matches.image_ids == image_id
            objects = matches.object_ids[rows]
            coefficients = predictions.extras[image_id, matches.anchor_ids[rows]]
            logits = mask_logits(coefficients, predictions.prototypes[image_id])
            sums.append((mask_loss(logits, masks[objects], boxes[objects]) * matches.weights[rows]).sum())
        return {"mask": torch.stack(sums).sum()}

    return upright_loss(
        model, predictions, truth[:3], config, terms=("mask",), further=further, ignored=ignored, total=total
    )


def mask_logits(coefficients: Tensor, prototypes: Tensor) -> Tensor:
    """Return mask logits (F, h, w) from coefficients (F, 32) and an image's prototypes (32, h, w)."""
    return torch.einsum("fk,khw->fhw", coefficients.float(), prototypes.float())


def mask_loss(logits: Tensor, masks: Tensor, boxes_xyxy: Tensor) -> Tensor:
    """Return the mean binary cross entropy of each mask over the cells that its box touches, (F,).

    Because each object's loss is a mean over its cells, large and small objects weigh the same. Cells outside
    the box have no loss, because predicted masks are cut off at the box.

    Args:
        logits: predicted masks (F, h, w).
        masks: labelled masks (F, h, w) bool.
        boxes_xyxy: boxes (F, 4), in pixels of the model input. A cell is MASK_STRIDE pixels wide and high.

    Source: Bolya et al. 2019, YOLACT, arXiv:1904.02689.
    """
    inside = _touched(boxes_xyxy, (logits.shape[1], logits.shape[2]))
    loss = functional.binary_cross_entropy_with_logits(logits, masks.float(), reduction="none")
    return (loss * inside).sum(dim=(1, 2)) / inside.sum(dim=(1, 2)).clamp(min=1)


def _touched(boxes_xyxy: Tensor, cells_hw: tuple[int, int]) -> Tensor:
    """Return which cells each box touches, (F, h, w) bool; a box in the image touches at least one cell."""
    left, top, right, bottom = (boxes_xyxy / MASK_STRIDE)[..., None].unbind(dim=1)  # (F, 1)
    rows, columns = (torch.arange(size, device=boxes_xyxy.device) for size in cells_hw)
    in_row = (rows + 1 > top) & (rows < bottom)  # (F, h)
    in_column = (columns + 1 > left) & (columns < right)
    return in_row[:, :, None] & in_column[:, None, :]
