"""The notes' `optimized` mixtures: spatial routers over pointwise experts, before v0.1 had its z-loss."""

from dataclasses import replace

from training.config import RouterConfig
from training.models.families.family import Family
from training.models.families.pointwise import LOSSES, pointwise

OPTIMIZED = Family(
    name="optimized",
    sizes="n",
    configure=pointwise(RouterConfig(kind="spatial")),
    losses=replace(LOSSES, z=0.0),
)
