"""YOLO-Master v0.1: 4, 8 and 16 pointwise experts in the deep stages."""

from training.config import RouterConfig
from training.models.families.family import Family
from training.models.families.pointwise import LOSSES, pointwise

MODULAR = Family(
    name="modular",
    sizes="nsml",
    configure=pointwise(RouterConfig(kind="spatial", init_std=0.01, noise=1.0), experts=(4, 8, 16)),
    losses=LOSSES,
)
