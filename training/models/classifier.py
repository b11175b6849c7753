"""The classifier: uint8 images in, a score for each class and every mixture's routing out."""

from typing import NamedTuple

from torch import Tensor

from training.config import ModelConfig
from training.models.heads.classify import ClassifyHead
from training.models.mixture.layer import Dispatch
from training.models.mixture.routing import Routing, RoutingControls
from training.models.network import Network, scaled_pixels

# B batch · C classes


class ClassPredictions(NamedTuple):
    """One forward pass."""

    class_logits: Tensor  # (B, C)
    routings: dict[str, Routing]  # by layer name, in the order they ran


class Classifier(Network):
    """Backbone and classification head, on its coarsest map."""

    resize = "center_crop"

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.head = ClassifyHead(config, self.backbone.channels[-1])

    def forward(
        self,
        images: Tensor,
        controls: RoutingControls | None = None,
        dispatch: Dispatch | None = None,
    ) -> ClassPredictions:
        """Score every class.

        Args:
            images: (B, H, W, 3) uint8 RGB, H and W as configured.
            controls: None: the configured top_k and threshold.
            dispatch: how experts are run; None: as each layer is configured to train.
        """
        controls = controls or self.default_controls()
        maps, routings = self.backbone(scaled_pixels(images), controls, dispatch)
        return ClassPredictions(self.head(maps[-1]), routings)

    def probabilities(self, predictions: ClassPredictions) -> Tensor:
        """Return (B, C) float32, which sum to 1 for each image."""
        return predictions.class_logits.float().softmax(dim=-1)
