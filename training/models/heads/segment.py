"""The mask head, which predicts prototype masks of an image, and their weights for each anchor."""

from torch import Tensor, nn

from training.config import ModelConfig
from training.models.backbone import Maps, scaled_channels
from training.models.heads.detect import AnchorBranches
from training.models.layers import ConvBlock

# B batch · A anchors of all levels · H, W size of the model input

PROTOTYPES = 32
PROTOTYPE_WIDTH = 256  # channels before the width factor is applied
MIN_WIDTH = 32  # of the branches for coefficients


class PrototypeNetwork(nn.Module):
    """A network that turns the finest map into prototype masks of twice its height and width.

    Source: Bolya et al. 2019, YOLACT, arXiv:1904.02689, section 3.1; here, a transposed convolution
    doubles the size.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.enter = ConvBlock(channels, width, 3)
        self.upsample = nn.ConvTranspose2d(width, width, 2, 2)
        self.refine = ConvBlock(width, width, 3)
        self.leave = ConvBlock(width, PROTOTYPES)

    def forward(self, x: Tensor) -> Tensor:
        """Map features (B, channels, H / 8, W / 8) to prototypes (B, 32, H / 4, W / 4)."""
        return self.leave(self.refine(self.upsample(self.enter(x))))


class SegmentHead(nn.Module):
    """A mask head with a prototype network on the finest map, and a coefficient branch at each level."""

    def __init__(self, config: ModelConfig, channels: tuple[int, int, int]) -> None:
        super().__init__()
        self.prototypes = PrototypeNetwork(channels[0], scaled_channels(config, PROTOTYPE_WIDTH))
        self.coefficients = AnchorBranches(channels, max(channels[0] // 4, MIN_WIDTH), PROTOTYPES)

    def forward(self, maps: Maps) -> tuple[Tensor, Tensor]:
        """Return coefficients (B, A, 32) and prototypes (B, 32, H / 4, W / 4) for the feature maps."""
        return self.coefficients(maps), self.prototypes(maps[0])
