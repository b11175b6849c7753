"""The segmentation network: a detector that also predicts the mask of each object."""

from torch import Tensor

from training.config import ModelConfig
from training.models.backbone import Maps
from training.models.detector import Detector, Predictions
from training.models.heads.segment import SegmentHead

# B batch · N anchors · H, W size of the model input


class Segmenter(Detector):
    """A detector with a mask head on its neck.

    The predictions hold 32 prototypes (B, 32, H / 4, W / 4), and 32 coefficients for each anchor. The mask
    logits of an anchor are the sum of all prototypes, each multiplied by the anchor's coefficient for it.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.masks = SegmentHead(config, self.neck.channels)

    def add_extras(self, predictions: Predictions, maps: Maps) -> Predictions:
        """Add mask coefficients (B, A, 32) and prototypes (B, 32, H / 4, W / 4) to the predictions."""
        coefficients, prototypes = self.masks(maps)
        return predictions._replace(extras=coefficients, prototypes=prototypes)

    def decode(self, predictions: Predictions, limit: int | None = None) -> tuple[Tensor, ...]:
        """Return the boxes and class scores of a detector, and mask coefficients (B, N, 32) float32."""
        rows = self.select(predictions, limit)
        assert rows.extras is not None
        return *self.decode_rows(rows), rows.extras.float()
