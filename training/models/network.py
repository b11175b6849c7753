"""What the networks of all tasks share: a backbone with mixtures, and controls over its experts."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from training.config import ModelConfig, Resize
from training.models.backbone import Backbone, Maps
from training.models.mixture.layer import Dispatch, MixtureLayer
from training.models.mixture.routing import Routing, RoutingControls

ROOMS = ("backbone", "neck", "head")  # the parts that may hold mixtures, in the order they run


class Network(nn.Module):
    """A backbone, built from one configuration; each task's network turns its maps into predictions.

    Attributes:
        resize: how an image is put on the canvas that the network takes.
    """

    resize: ClassVar[Resize]

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(config)

    def forward(
        self,
        images: Tensor,
        controls: RoutingControls | None = None,
        dispatch: Dispatch | None = None,
    ) -> Any:
        """Predict and decode nothing; returns the task's tuple, with `routings` by layer name.

        Args:
            images: (B, H, W, 3) uint8 RGB, H and W as configured.
            controls: None: the configured top_k and threshold.
            dispatch: how experts are run; None: as each layer is configured to train.
        """
        controls = controls or self.default_controls()
        maps, routings = self.backbone(scaled_pixels(images), controls, dispatch)
        return self.predict(maps, routings, controls, dispatch)

    def predict(
        self, maps: Maps, routings: dict[str, Routing], controls: RoutingControls, dispatch: Dispatch | None
    ) -> Any:
        """Return the predictions of the backbone's maps; routings are the backbone's."""
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        """Return where the weights are."""
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
