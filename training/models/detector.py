"""The detector: uint8 pictures in, raw predictions and every mixture's routing out."""

from typing import NamedTuple

from torch import Tensor, nn

from training.config import HEAD_PLACES, STRIDES, ModelConfig
from training.models.backbone import Backbone
from training.models.heads.detect import DetectHead
from training.models.heads.mixture import MixtureDetectHead
from training.models.mixture.layer import Dispatch, MixtureLayer
from training.models.mixture.routing import Routing, RoutingControls
from training.models.neck import Neck
from training.ops.anchors import anchor_points, decode_boxes

# B batch · A anchors of all levels · C classes · R bins of a side's distribution


class Predictions(NamedTuple):
    """One forward pass."""

    box_logits: Tensor  # (B, A, 4, R)
    class_logits: Tensor  # (B, A, C)
    routings: dict[str, Routing]  # by layer name, in the order they ran


class Detector(nn.Module):
    """Backbone, neck and detection head, built from one configuration."""

    points: Tensor
    strides: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(config)
        self.neck = Neck(config, self.backbone.channels)
        head = MixtureDetectHead if HEAD_PLACES[0] in config.mixtures else DetectHead
        self.head = head(config, self.neck.channels)
        points, strides = anchor_points(config.input_hw, STRIDES)
        self.register_buffer("points", points, persistent=False)  # (A, 2)
        self.register_buffer("strides", strides, persistent=False)  # (A, 1)

    def forward(
        self,
        images: Tensor,
        controls: RoutingControls | None = None,
        dispatch: Dispatch | None = None,
    ) -> Predictions:
        """Predict and decode nothing.

        Args:
            images: (B, H, W, 3) uint8 RGB, H and W as configured.
            controls: None: the configured top_k and threshold.
            dispatch: how experts are run; None: as each layer is configured to train.
        """
        x = images.float().permute(0, 3, 1, 2) / 255  # (B, 3, H, W) 0..1; TensorRT can only cast uint8
        controls = controls or self.default_controls()
        maps, backbone_routings = self.backbone(x, controls, dispatch)
        maps, neck_routings = self.neck(maps, controls, dispatch)
        found = self.head(maps, controls, dispatch)
        routings = {**backbone_routings, **neck_routings, **found.routings}
        return Predictions(found.box_logits, found.class_logits, routings)

    def decode(self, predictions: Predictions) -> tuple[Tensor, Tensor]:
        """Boxes (B, A, 4) xyxy canvas pixels and class scores (B, A, C), 0..1; both float32."""
        boxes = decode_boxes(predictions.box_logits, self.points, self.strides)
        return boxes, predictions.class_logits.float().sigmoid()

    def default_controls(self) -> RoutingControls:
        """The configured top_k and threshold."""
        return RoutingControls(self.config.top_k, self.config.weight_threshold)

    def mixture_layers(self) -> dict[str, MixtureLayer]:
        """Every mixture layer by name, in the order they run."""
        layers = {}
        for room in ("backbone", "neck", "head"):
            for name, layer in getattr(self.get_submodule(room), "mixtures", nn.ModuleDict()).items():
                assert isinstance(layer, MixtureLayer)
                layers[f"{room}.{name}"] = layer
        return layers


def count_parameters(model: nn.Module) -> int:
    """Trainable numbers."""
    return sum(parameter.numel() for parameter in model.parameters())
