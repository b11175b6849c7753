"""The classifier: maps uint8 images to class logits and the routing of every mixture layer."""

from typing import NamedTuple

from torch import Tensor, nn

from training.config import ModelConfig
from training.models.backbone import Maps
from training.models.layers import ConvBlock
from training.models.mixture.layer import Dispatch
from training.models.mixture.routing import Routing, RoutingControls
from training.models.network import Network

# B batch · C classes

WIDTH = 1280  # channels before the last layer, the same for all model sizes


class ClassPredictions(NamedTuple):
    """The output of a classifier for one batch: class logits, and the routing of every mixture layer."""

    class_logits: Tensor  # (B, C)
    routings: dict[str, Routing]  # by layer name, in the order in which the layers run
    path: Routing | None = None  # of a network that chose a path for each image


class ClassifyHead(nn.Module):
    """A classification head with a 1×1 convolution, the mean over all cells, and a linear layer.

    Source: the ImageNet classifiers of YOLO11, YOLOv12 and YOLO-Master, which have the same head.
    """

    def __init__(self, config: ModelConfig, channels: int) -> None:
        super().__init__()
        self.widen = ConvBlock(channels, WIDTH)
        self.score = nn.Linear(WIDTH, len(config.class_names))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, H, W) to logits (B, C)."""
        return self.score(self.widen(x).mean(dim=(2, 3)))


class Classifier(Network):
    """A classifier, which puts a classification head on the coarsest map of a backbone."""

    resize = "center_crop"

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.head = ClassifyHead(config, self.backbone.channels[-1])

    def predict(
        self, maps: Maps, routings: dict[str, Routing], controls: RoutingControls, dispatch: Dispatch | None
    ) -> ClassPredictions:
        """Return the logits of all classes, and the routings of the backbone's mixture layers."""
        return ClassPredictions(self.head(maps[-1]), routings)

    def probabilities(self, predictions: ClassPredictions) -> Tensor:
        """Return class probabilities (B, C) float32, which sum to 1 for each image."""
        return predictions.class_logits.float().softmax(dim=-1)
