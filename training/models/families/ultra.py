"""The notes' `ultra` mixtures: a cheap router with a learned temperature, and experts with group norm."""

from training.config import MixtureConfig, RouterConfig
from training.models.families.family import Family
from training.models.families.pointwise import LOSSES, pointwise

ROUTER = RouterConfig(kind="ultra", reduction=16, min_hidden=4, pool=8, noise=1.0, learn_temperature=True)
# Without batch norm, experts can be trained on only the images that chose them.
MIXTURE = MixtureConfig(norm="group", weight_threshold=0.01, train_dispatch="grouped")

ULTRA = Family(name="ultra", sizes="n", configure=pointwise(ROUTER, mixture=MIXTURE), losses=LOSSES)
