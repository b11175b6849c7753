"""The notes' `ultra` mixtures: a cheap router with a learned temperature, and experts with group norm."""

from dataclasses import replace

from training.config import LossConfig, ModelConfig, RouterConfig
from training.models.families.family import Family
from training.models.families.pointwise import DEEP_PLACES, V01_GAIN, pointwise

ROUTER = RouterConfig(kind="ultra", reduction=16, min_hidden=4, pool=8, noise=1.0, learn_temperature=True)


def _configure(config: ModelConfig, size: str) -> ModelConfig:
    del size
    # Without batch norm an expert may see only the images that chose it, in training as well.
    mixture = replace(
        pointwise(4), router=ROUTER, norm="group", weight_threshold=0.01, train_dispatch="grouped"
    )
    return replace(config, neck="c3k", mixtures=dict.fromkeys(DEEP_PLACES, mixture))


ULTRA = Family(
    name="ultra",
    sizes="n",
    configure=_configure,
    losses=LossConfig(balance=0.0, load=0.01 * V01_GAIN, z=0.001 * V01_GAIN),
)
