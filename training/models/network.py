"""The base class of the networks of all tasks, with a backbone and controls over its experts."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from training.config import ModelConfig, Resize
from training.models.backbone import Backbone, Maps
from training.models.mixture.layer import Dispatch, MixtureLayer
from training.models.mixture.path import PathRouter, choose_path
from training.models.mixture.router import in_float32
from training.models.mixture.routing import Routing, RoutingControls, choose_experts

PARTS = ("backbone", "neck", "head")  # the parts that may have mixtures, in the order in which they run


class Network(nn.Module):
    """A network with a backbone; a subclass for each task turns feature maps into predictions."""

    resize: ClassVar[Resize]  # how an image is resized to the model input

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.path_router = None if config.paths is None else PathRouter(config.paths)
        self.backbone = Backbone(config)

    def forward(
        self, images: Tensor, controls: RoutingControls | None = None, dispatch: Dispatch | None = None
    ) -> Any:
        """Return the task's raw predictions, with `routings` by layer name.

        Args:
            images: (B, H, W, 3) uint8 RGB, H and W as configured.
            controls: how many experts run; None: the configured top_k and threshold.
            dispatch: how the chosen experts are computed; None: each layer's train_dispatch.
        """
        controls = controls or self.default_controls()
        # The cast comes first, because TensorRT has no other operator for uint8. The permutation comes last,
        # so that engines with channels-last convolutions can skip it.
        pixels = (images.float() / 255).permute(0, 3, 1, 2)  # (B, 3, H, W), 0..1
        path = None
        if self.path_router is not None and controls.path is None:
            path = self.choose_path(pixels, controls.softness)
            controls = controls._replace(path=path.gate)
        maps, routings = self.backbone(pixels, controls, dispatch)
        predictions = self.predict(maps, routings, controls, dispatch)
        return predictions if path is None else predictions._replace(path=path)

    def choose_path(self, pixels: Tensor, softness: float = 0.0) -> Routing:
        """Return the path of each image (B, 3, H, W), 0..1, as a routing over paths.

        `softness` only matters in training. Like every router, this one computes in float32.
        """
        assert self.path_router is not None
        with in_float32(pixels):
            return choose_path(self.path_router(pixels.float()), softness if self.training else None)

    def predict(
        self, maps: Maps, routings: dict[str, Routing], controls: RoutingControls, dispatch: Dispatch | None
    ) -> Any:
        """Return the task's predictions for the backbone's feature maps.

        `routings` come from the mixture layers in the backbone. The predictions hold these routings and also
        the routings of the mixture layers in neck and head.
        """
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        """Return the device of the weights."""
        return next(self.parameters()).device

    def default_controls(self) -> RoutingControls:
        """Return the configured top_k and threshold."""
        return RoutingControls(self.config.top_k, self.config.weight_threshold)

    def path_table(self, controls: RoutingControls) -> dict[str, Routing]:
        """Return, by layer, the routing (P, E) that each path of a network with paths has for its images."""
        assert self.config.paths is not None
        one_each = torch.eye(self.config.paths.count, device=self.device)  # (P, P)
        return {
            name: choose_experts(layer.score(one_each), controls, layer.config.gate_epsilon)
            for name, layer in self.mixture_layers().items()
        }

    def mixture_layers(self) -> dict[str, MixtureLayer]:
        """Return all mixture layers by name, in the order in which they run."""
        layers = {}
        for part in PARTS:
            for name, layer in getattr(getattr(self, part, None), "mixtures", nn.ModuleDict()).items():
                assert isinstance(layer, MixtureLayer)
                layers[f"{part}.{name}"] = layer
        return layers


def count_parameters(model: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in model.parameters())
