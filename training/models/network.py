"""What the networks of all tasks share: a backbone with mixtures, and controls over its experts."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from training.config import ModelConfig, Resize
from training.models.backbone import Backbone
from training.models.mixture.layer import MixtureLayer
from training.models.mixture.routing import RoutingControls

ROOMS = ("backbone", "neck", "head")  # the parts that may hold mixtures, in the order they run


class Network(nn.Module):
    """A backbone, built from one configuration; each task's network adds what turns its maps into answers.

    Every network takes images (B, H, W, 3) uint8 RGB, controls (None: the configured ones) and a dispatch
    (None: as each layer is configured to train), and returns a tuple with `routings` by layer name.

    Attributes:
        resize: how an image is put on the canvas that the network takes.
    """

    resize: ClassVar[Resize]

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(config)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def default_controls(self) -> RoutingControls:
        """Return the configured top_k and threshold."""
        return RoutingControls(self.config.top_k, self.config.weight_threshold)

    def mixture_layers(self) -> dict[str, MixtureLayer]:
        """Return every mixture layer by name, in the order they run."""
        layers = {}
        for room in ROOMS:
            for name, layer in getattr(getattr(self, room, None), "mixtures", nn.ModuleDict()).items():
                assert isinstance(layer, MixtureLayer)
                layers[f"{room}.{name}"] = layer
        return layers


def scaled_pixels(images: Tensor) -> Tensor:
    """Return (B, H, W, 3) uint8 as (B, 3, H, W) float32, 0..1.

    Cast first, as TensorRT can do nothing else to uint8; turned last, which engines whose convolutions read
    channels last then need not do.
    """
    return (images.float() / 255).permute(0, 3, 1, 2)


def count_parameters(model: nn.Module) -> int:
    """Return how many numbers are trained."""
    return sum(parameter.numel() for parameter in model.parameters())
