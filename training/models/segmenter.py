"""The segmentation network: a detector that also predicts the mask of each object."""

from torch import Tensor

from training.config import ModelConfig
from training.models.backbone import Maps
from training.models.detector import Detector, Predictions
from training.models.heads.segment import SegmentHead

# B batch · N anchors · H, W size of the model input


class Segmenter(Detector):
    """A detector with a mask head on its neck.

    The logit of an anchor's mask is the sum of the predictions' prototypes (B, 32, H / 4, W / 4), each times
    the anchor's coefficient for it.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.masks = SegmentHead(config, self.neck.channels)

    def add_extras(self, predictions: Predictions, maps: Maps) -> Predictions:
        """Return the predictions with mask coefficients (B, A, 32) and prototypes (B, 32, H / 4, W / 4)."""
        coefficients, prototypes = self.masks(maps)
        return predictions._replace(extras=coefficients, prototypes=prototypes)

    def decode(self, predictions: Predictions, limit: int | None = None) -> tuple[Tensor, ...]:
        """Return boxes and class scores as a detector does, and mask coefficients (B, N, 32) float32."""
        rows = self.select(predictions, limit)
        assert rows.extras is not None
        return *self.decode_rows(rows), rows.extras.float()
