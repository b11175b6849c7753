"""The loss of a classifier for one batch."""

from torch import Tensor
from torch.nn import functional

from training.config import LossConfig
from training.losses.routing import routing_loss
from training.losses.terms import LossTerms, Total, alone
from training.models.classifier import ClassPredictions


def classification_loss(
    predictions: ClassPredictions, class_ids: Tensor, config: LossConfig, total: Total = alone
) -> LossTerms:
    """Return the loss of a batch: weighted cross entropy with label smoothing, plus the routing losses.

    The loss is multiplied by the batch size, because the published learning rates assume this. The result's
    `weight` is the number of images in the batch.

    Args:
        class_ids: the class of each image, (B,).
        total: a function that sums a tensor over all processes that share the batch, as for detection_loss.
    """
    logits = predictions.class_logits.float()
    own = functional.cross_entropy(logits, class_ids, reduction="sum", label_smoothing=config.label_smoothing)
    images = total(logits.new_tensor(len(class_ids)))
    classes = total(own) / images
    routing = routing_loss(
        predictions.routings,
        config,
        classes,
        lambda values: total(values.sum(dim=0)) / images,
        predictions.path,
    )
    weighted = config.classes * classes + routing
    parts = {"classes": classes.detach(), "routing": routing.detach()}
    return LossTerms(weighted * images, parts, images.detach())
