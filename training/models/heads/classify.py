"""The classification head: maps features to one logit per class for the whole image."""

from torch import Tensor, nn

from training.config import ModelConfig
from training.models.layers import ConvBlock

WIDTH = 1280  # the same for all model sizes


class ClassifyHead(nn.Module):
    """A 1×1 convolution, the mean over all cells, and a linear layer.

    Source: the head that YOLO11, YOLOv12 and YOLO-Master put on their backbones for ImageNet.
    """

    def __init__(self, config: ModelConfig, channels: int) -> None:
        super().__init__()
        self.widen = ConvBlock(channels, WIDTH)
        self.score = nn.Linear(WIDTH, len(config.class_names))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to logits (B, classes)."""
        return self.score(self.widen(x).mean(dim=(2, 3)))
