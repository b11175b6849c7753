"""The detector: maps uint8 images to raw predictions and the routing of every mixture layer."""

from typing import NamedTuple

from torch import Tensor

from training.config import HEAD_PLACES, STRIDES, ModelConfig
from training.models.backbone import Maps
from training.models.heads.detect import DetectHead, Predictions
from training.models.heads.mixture import MixtureDetectHead
from training.models.mixture.layer import Dispatch
from training.models.mixture.routing import Routing, RoutingControls
from training.models.neck import Neck
from training.models.network import Network
from training.ops.anchors import anchor_points, decode_boxes

__all__ = ("Detector", "Predictions")

# B batch · A anchors of all levels · N selected anchors · C classes


class AnchorRows(NamedTuple):
    """The raw predictions for all anchors, or for the selected ones."""

    box_logits: Tensor  # (B, N, 4, R)
    class_logits: Tensor  # (B, N, C) float32
    extras: Tensor | None  # (B, N, K); None: the network predicts nothing more than boxes and classes
    points: Tensor  # (A, 2), or per image, (B, N, 2)
    strides: Tensor  # (A, 1), or per image, (B, N, 1)


class Detector(Network):
    """A detector, which consists of a backbone, a neck and a detection head."""

    resize = "letterbox"
    points: Tensor
    strides: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.neck = Neck(config, self.backbone.channels)
        head = MixtureDetectHead if HEAD_PLACES[0] in config.mixtures else DetectHead
        self.head = head(config, self.neck.channels)
        points, strides = anchor_points(config.input_hw, STRIDES)
        self.register_buffer("points", points, persistent=False)  # (A, 2)
        self.register_buffer("strides", strides, persistent=False)  # (A, 1)

    def predict(
        self, maps: Maps, routings: dict[str, Routing], controls: RoutingControls, dispatch: Dispatch | None
    ) -> Predictions:
        """Return the box and class logits of all anchors, and the routings of backbone, neck and head."""
        maps, of_neck = self.neck(maps, controls, dispatch)
        found = self.head(maps, controls, dispatch)
        return self.add_extras(found._replace(routings={**routings, **of_neck, **found.routings}), maps)

    def add_extras(self, predictions: Predictions, maps: Maps) -> Predictions:
        """Add the predictions that only a subclass makes; `maps` are the maps of the neck, finest first."""
        return predictions

    def decode(self, predictions: Predictions, limit: int | None = None) -> tuple[Tensor, ...]:
        """Return boxes (B, A, 4) xyxy in pixels of the model input and class scores (B, A, C) 0..1, float32.

        With `limit`, return only the `limit` anchors of each image that have the highest class scores, in
        any order. The `limit` best (anchor, class) pairs of an image are always among these anchors.
        Subclasses return further predictions for the same anchors.
        """
        return self.decode_rows(self.select(predictions, limit))

    def decode_rows(self, rows: AnchorRows) -> tuple[Tensor, Tensor]:
        """Return the boxes (B, N, 4) and class scores (B, N, C) of selected anchors."""
        return decode_boxes(rows.box_logits, rows.points, rows.strides), rows.class_logits.sigmoid()

    def select(self, predictions: Predictions, limit: int | None) -> AnchorRows:
        """Return the predictions for the `limit` best anchors of each image; None: for all anchors."""
        box_logits, class_logits = predictions.box_logits, predictions.class_logits.float()
        extras, points, strides = predictions.extras, self.points, self.strides
        if limit is not None and limit < len(points):
            best = class_logits.amax(dim=-1).topk(limit, sorted=False).indices  # (B, limit)
            box_logits = _rows(box_logits.flatten(2), best).unflatten(2, box_logits.shape[2:])
            class_logits = _rows(class_logits, best)
            extras = None if extras is None else _rows(extras, best)
            points, strides = (
                each.index_select(0, best.flatten()).reshape(-1, limit, each.shape[1])
                for each in (points, strides)
            )
        return AnchorRows(box_logits, class_logits, extras, points, strides)


def _rows(values: Tensor, ids: Tensor) -> Tensor:
    """Return the rows (B, N, F) of values (B, A, F) at the indices ids (B, N)."""
    if values.shape[0] == 1:  # for one image, an index is far less work for inference engines than a gather
        return values[0].index_select(0, ids[0])[None]
    return values.gather(1, ids[..., None].expand(-1, -1, values.shape[-1]))
